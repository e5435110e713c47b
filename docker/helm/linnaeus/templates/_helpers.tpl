{{- define "linnaeus.labels" -}}
app.kubernetes.io/name: {{ .Release.Name }}
{{- end }}

{{- define "linnaeus.metadata" -}}
name: {{ .Release.Name }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "linnaeus.labels" . | nindent 2 }}
{{- end }}

{{- define "linnaeus.image" -}}
{{- $variant := ternary "cuda" "cpu" .Values.gpu -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "%s-%s" .Chart.AppVersion $variant) }}
{{- end }}

{{- define "linnaeus.isRemote" -}}
{{- if contains "://" .Values.models.repository }}true{{ end }}
{{- end }}

{{- /* Copies of a remote repository may need more room than a pod that writes nothing. */}}
{{- define "linnaeus.resources" -}}
{{- if .Values.resources }}
{{- toYaml .Values.resources }}
{{- else if .Values.gpu }}
requests: {cpu: "8", memory: 4Gi, ephemeral-storage: 64Mi}
limits: {memory: 8Gi{{ if not (include "linnaeus.isRemote" .) }}, ephemeral-storage: 256Mi{{ end }}, nvidia.com/gpu: 1}
{{- else }}
requests: {cpu: "2", memory: 1Gi, ephemeral-storage: 64Mi}
limits: {memory: 2Gi{{ if not (include "linnaeus.isRemote" .) }}, ephemeral-storage: 256Mi{{ end }}}
{{- end }}
{{- end }}

{{- /* Half of the requested cores, as the server counts where it knows its own. */}}
{{- define "linnaeus.frontEnds" -}}
{{- $requests := (include "linnaeus.resources" . | fromYaml).requests -}}
{{- $cpu := $requests.cpu | toString -}}
{{- $millis := ternary ($cpu | trimSuffix "m" | int64) (mulf ($cpu | float64) 1000.0 | int64) (hasSuffix "m" $cpu) -}}
{{- min 16 (max 1 (div $millis 2000)) }}
{{- end }}

{{- define "linnaeus.maxReplicas" -}}
{{- .Values.autoscaling.maxReplicas | default (ternary 4 10 .Values.gpu) }}
{{- end }}

{{- define "linnaeus.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 30
  policies: [{type: Percent, value: 100, periodSeconds: 60}]
scaleDown:
  stabilizationWindowSeconds: 600
  policies: [{type: Pods, value: 1, periodSeconds: 120}]
{{- end }}

{{- /* What no schema of values says. */}}
{{- define "linnaeus.check" -}}
{{- with .Values }}
{{- if and (eq (int .autoscaling.minReplicas) 0) (not (and (eq .autoscaling.kind "keda") .gateway.enabled)) }}
{{- fail "autoscaling.minReplicas is 0, but without autoscaling.kind: keda and gateway.enabled: true nothing would start the first pod" }}
{{- end }}
{{- if and .tls.secret .gateway.enabled }}
{{- fail "tls.secret is set, but the gateway calls the pods without TLS; set gateway.tlsSecret in its place" }}
{{- end }}
{{- if and .tls.clientCa (not .tls.secret) }}
{{- fail "tls.clientCa is true, but tls.secret, which has ca.crt, is not set" }}
{{- end }}
{{- end }}
{{- if gt (int .Values.autoscaling.minReplicas) (include "linnaeus.maxReplicas" . | int) }}
{{- fail "autoscaling.minReplicas is larger than autoscaling.maxReplicas" }}
{{- end }}
{{- end }}
