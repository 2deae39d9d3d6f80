"""The names of our API group, and what Kubernetes takes for a name: one place for both.

It must not hold anything but names and their forms. The forms are those of
k8s.io/apimachinery/pkg/util/validation: IsDNS1123Subdomain, IsQualifiedName, IsValidLabelValue,
IsConfigMapKey; a text's greatest length stands beside each.
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

_WORD: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_PLAIN: Final = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
NAME_FORM: Final = rf"^{_WORD}(\.{_WORD})*$"
"""Of an object, at most 253 characters."""
DATA_KEY_FORM: Final = "^[-._a-zA-Z0-9]+$"
"""Of a text in a ConfigMap or a Secret, at most 253 characters."""
LABEL_FORM: Final = rf"^({_WORD}(\.{_WORD})*/)?{_PLAIN}$"
"""Of a label's, a taint's or an annotation's key, at most 317 characters."""
LABEL_VALUE_FORM: Final = f"^({_PLAIN})?$"
"""Of a label's or a taint's value, at most 63 characters."""
