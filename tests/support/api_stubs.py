"""Python's modules for one of the definitions in proto/, made when they are asked for, by Debian's packages."""

import importlib
import subprocess
import sys
import tempfile


def load(proto_folder, name="otaclient_v2"):
    """The module of the messages, and that of the service."""
    if f"{name}_pb2_grpc" not in sys.modules:
        with tempfile.TemporaryDirectory(prefix="api_stubs.") as out:
            subprocess.run(
                ["protoc", f"-I{proto_folder}", f"--python_out={out}", f"--grpc_python_out={out}",
                 "--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin", f"{name}.proto"], check=True)
            sys.path.insert(0, out)
            try:
                importlib.invalidate_caches()
                importlib.import_module(f"{name}_pb2_grpc")
            finally:
                sys.path.remove(out)
    return sys.modules[f"{name}_pb2"], sys.modules[f"{name}_pb2_grpc"]
