"""`helm test`: an LLMDeployment that cannot fit must be refused. A dry run: nothing is stored.

It must use nothing but the standard library and the pod's own service account.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
TRIES, PAUSE = int(os.environ.get("TRIES", "12")), 5.0


def attempt() -> tuple[bool, str]:
    """Whether it was refused for want of memory, and what the API server said."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    namespace, gpus = os.environ["NAMESPACE"], int(os.environ["GPUS"])
    spec = {
        "model": {"uri": "hf://meta-llama/Llama-3.3-70B-Instruct"},
        "engine": {"maxModelLen": 32768, "parallelism": {"tensor": gpus, "pipeline": 1}},
        "workload": {"concurrentSequences": 8},
        "accelerator": {"allowed": ["nvidia-a100-80gb"], "gpusPerReplica": gpus},
    }
    body = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "helm-test-cannot-fit"},
        "spec": spec,
    }
    path = f"/apis/plimsoll.dev/v1alpha1/namespaces/{namespace}/llmdeployments?dryRun=All"
    request = urllib.request.Request(
        f"https://{f'[{host}]' if ':' in host else host}:{port}{path}",
        json.dumps(body).encode(),
        {
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}",
            "Content-Type": "application/json",
        },
    )
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
            warned = answer.headers.get_all("Warning") or ["without a warning"]
            return False, f"it was let in: {'; '.join(warned)}"
    except urllib.error.HTTPError as error:
        said = json.loads(error.read()).get("message", "")
        ours = "does not fit" in said or "the weights alone" in said
        return error.code == 422 and ours, f"{error.code}: {said}"
    except OSError as error:
        return False, f"the API server does not answer: {error}"


for number in range(TRIES):
    time.sleep(PAUSE if number else 0)
    refused, said = attempt()
    if refused:
        print(f"refused, as it should be:\n{said}")
        sys.exit(0)
    print(f"not yet: {said}", flush=True)
print("Next: is the webhook ready, has its registration a caBundle, does the namespace enforce?")
sys.exit(1)
