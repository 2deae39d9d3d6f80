"""The names of our API group: one place for the word that everything else is built on.

It must not hold anything but names.
"""

from __future__ import annotations

from typing import Final

GROUP: Final = "plimsoll.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "LLMDeployment"
PLURAL: Final = "llmdeployments"
POLICY_LABEL: Final = f"{GROUP}/policy"
"""On a namespace: enforce, warn or audit."""
WORKLOADS_LABEL: Final = f"{GROUP}/workloads"
"""On a namespace: enforce, warn or audit what starts an LLM there and is no LLMDeployment. Without
it (and without a policy that names them) other people's kinds are not looked at."""
OVERRIDE_ANNOTATION: Final = f"{GROUP}/override"
"""On an object: the reason for which a denial is overridden."""
IGNORE_ANNOTATION: Final = f"{GROUP}/ignore"
"""On an object: rules that do not count in a pipeline, each with a reason; admission reads none."""
WORKLOAD_LABEL: Final = f"{GROUP}/llmdeployment"
"""On a pod: the LLMDeployment of its namespace that it runs."""
