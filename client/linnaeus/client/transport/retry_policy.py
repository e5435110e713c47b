"""The service config: which failures gRPC retries and how servers take turns, for both clients alike.

gRPC executes the policy; nothing here makes a call. `refusals` has the retries that the client makes itself: gRPC knows
only a status, and RESOURCE_EXHAUSTED is also what gRPC or a proxy says of a message or of metadata that is too large.
The retries are specified at https://github.com/grpc/proposal/blob/master/A6-client-retries.md, the health checks at
https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md
"""

import json
from typing import Any

# Retried: a call that the server refused because it stops or loads, and one lost with its connection. A stopping gRPC
# server ends requests that it received but did not begin with CANCELLED; a call that its own caller cancels is never
# retried. gRPC waits as long as `grpc-retry-pushback-ms` says and does not retry if that is negative; without it, about
# the backoff. At most three retries (gRPC allows four): a server that is gone is reported within a second.
RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}
# The calls that change nothing, so that it does no harm if a lost one was executed. Every other call is sent once.
# StreamClassify is not among them: a stream that gRPC sends again would give its images their whole timeouts anew.
RETRIED_METHODS = [
    {"service": "linnaeus.v1.ClassifierService", "method": method}
    for method in ("Classify", "ClassifyBatch", "ListModels", "GetModel")
]
# A failure takes one token, a success returns a tenth; below half of the tokens gRPC does not retry, so that servers in
# trouble do not get four times the load. 1000 is gRPC's maximum: the retries of 500 calls in flight at a server that
# dies are all allowed.
RETRY_THROTTLING = {"maxTokens": 1000, "tokenRatio": 0.1}


def service_config(*, several: bool) -> str:
    """Returns the service config as JSON.

    Args:
        several: True if there may be several servers. They take turns, and one that reports NOT_SERVING is left out. A
            single server is always called: its own refusal says more than an empty rotation.
    """
    config: dict[str, Any] = {
        "methodConfig": [{"name": RETRIED_METHODS, "retryPolicy": RETRY_POLICY}],
        "retryThrottling": RETRY_THROTTLING,
    }
    if several:
        config |= {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    return json.dumps(config)
