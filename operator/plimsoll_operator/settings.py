"""What can be set on the two processes: one table of names, defaults and what they do.

It must not read a file or the cluster; the command line (`plimsoll_operator.__main__`) fills it
from flags, and from environment variables of the same name: ``--resync-seconds`` is
``PLIMSOLL_RESYNC_SECONDS``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

CONTROLLER: Final = "controller"
ADMISSION: Final = "admission"
BOTH: Final = "both"


def _setting(default: Any, used_by: str, effect: str) -> Any:
    return field(default=default, metadata={"used_by": used_by, "effect": effect})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the controller and of admission; `effect` in each field's metadata explains it.

    Ports: 0 picks a free one, which the log then names.
    """

    kubeconfig: str = _setting(
        "",
        BOTH,
        "Kubeconfig file. Unset: the pod's service account where there is one, then $KUBECONFIG, "
        "then ~/.kube/config.",
    )
    context: str = _setting("", BOTH, "Context in that kubeconfig. Unset: its current one.")
    log_level: str = _setting("info", BOTH, "Least severe message logged: debug, info, warning.")
    log_format: str = _setting("text", BOTH, "How messages are logged: text, or json per line.")

    metrics_host: str = _setting(
        "0.0.0.0", BOTH, "Address of the plain HTTP server for /metrics, /healthz and /readyz."
    )
    metrics_port: int = _setting(8080, BOTH, "Its port.")
    accelerators: str = _setting(
        "",
        BOTH,
        "ConfigMap, as namespace/name, whose key accelerators.yaml adds accelerators to the table; "
        "it is read at start and whenever it changes. Unset: none. The same for both processes.",
    )
    calibration: str = _setting(
        "",
        BOTH,
        "ConfigMap, as namespace/name, with start-ups that `plimsoll calibrate -o configmap` kept: "
        "they narrow the ranges of like ones. Whoever may write it may make a refusal that rests "
        "on activation, graphs or the context a warning, and no other. Unset: none. The same for "
        "both processes.",
    )
    resolved_namespace: str = _setting(
        "",
        BOTH,
        "Namespace with the profiles of models that the catalogue lacks, as `plimsoll models "
        "resolve` writes them. Whoever may write ConfigMaps there says what such a model needs. "
        "Unset: none. The same for both processes.",
    )
    decision_seconds: float = _setting(
        2.0,
        BOTH,
        "Seconds that reading and deciding one object may take; beyond that a review is answered "
        "with HTTP 500, and the controller sets the object aside until it changes.",
    )

    resolve_models: bool = _setting(
        False,
        CONTROLLER,
        "Ask the hub for models that objects name and the catalogue lacks, and write their "
        "profiles into --resolved-namespace. HF_ENDPOINT, HF_TOKEN, HTTPS_PROXY, HF_HUB_OFFLINE "
        "and HF_HOME count. Off: no process opens a connection to anything but the API server.",
    )
    resolve_seconds: float = _setting(
        60.0, CONTROLLER, "Seconds that the hub may take for one model."
    )

    workers: int = _setting(
        16, CONTROLLER, "Objects decided and written at once. More load the API server more."
    )
    controller_deciders: int = _setting(
        2,
        CONTROLLER,
        "Processes that decide. A namespace has all of them only while it is quick and alone.",
    )
    resync_seconds: float = _setting(
        300.0,
        CONTROLLER,
        "Seconds between full lists of LLMDeployments, which repair what a watch may have missed.",
    )
    heartbeat_seconds: float = _setting(
        5.0,
        CONTROLLER,
        "Seconds between looks at whether the API server answers; when it is back after an "
        "outage, every watch goes on and all LLMDeployments are listed at once.",
    )
    node_settle_seconds: float = _setting(
        1.0,
        CONTROLLER,
        "Seconds that changes of nodes and pods are collected for before objects are decided "
        "again.",
    )

    workloads: bool = _setting(
        False,
        CONTROLLER,
        "Create, update and remove the Deployments, LeaderWorkerSets and Services that "
        "LLMDeployments of output.mode Create ask for. Off: their condition Applied says so.",
    )

    audit_seconds: float = _setting(
        0.0,
        CONTROLLER,
        "Seconds between two audits of what other kinds run in namespaces with the label "
        "plimsoll.dev/workloads; what is found is written into Reports of openreports.io, or "
        "PolicyReports where only those are there, and into metrics. 0: no audit.",
    )
    targets: bool = _setting(
        False,
        CONTROLLER,
        "Apply what is planned onto the targets of LLMDeployments whose output.mode is Apply, and "
        "give them back. Off: their condition Applied says so.",
    )

    kueue_check: bool = _setting(
        False,
        CONTROLLER,
        "Answer AdmissionChecks of Kueue whose controllerName is plimsoll.dev/fit: a workload on a "
        "ResourceFlavor whose GPU cannot hold its model gives its quota back, and that flavor is "
        "closed to it; without any that can it is rejected. Off: such checks are not answered.",
    )

    page: bool = _setting(
        False,
        CONTROLLER,
        "Serve the page of `plimsoll report` on this pod's loopback address, to be read through "
        "`kubectl port-forward`: LLMDeployments and, with --audit-seconds, what is audited. It "
        "writes nothing. Off: nothing listens there.",
    )
    page_port: int = _setting(8081, CONTROLLER, "Its port.")
    page_seconds: float = _setting(
        15.0, CONTROLLER, "Seconds that a page is kept before the next reader has another made."
    )

    dry_starts: bool = _setting(
        False,
        CONTROLLER,
        "Run the engine's own start-up, without a GPU, in Jobs of the namespaces of "
        "LLMDeployments whose verification is DryStart, where nobody can be sure. Off: their "
        "condition Verified says so.",
    )
    dry_starts_at_once: int = _setting(2, CONTROLLER, "Such Jobs at once, in all namespaces.")
    dry_start_seconds: int = _setting(
        600, CONTROLLER, "Seconds that such a start-up may take, beside pulling the image."
    )

    leader_elect: bool = _setting(
        False,
        CONTROLLER,
        "Write only while holding a Lease, so that several controllers may run, one of them in "
        "charge. Off: this is the only one.",
    )
    lease_name: str = _setting("plimsoll-controller", CONTROLLER, "Name of that Lease.")
    lease_namespace: str = _setting(
        "", CONTROLLER, "Its namespace. Unset: the pod's own, or plimsoll-system outside a pod."
    )
    lease_seconds: float = _setting(
        10.0,
        CONTROLLER,
        "Seconds without a renewal after which another controller takes the Lease.",
    )
    lease_renew_seconds: float = _setting(
        7.0,
        CONTROLLER,
        "Seconds without a renewal after which the holder stops writing and ends; less than "
        "--lease-seconds.",
    )
    lease_retry_seconds: float = _setting(
        2.0, CONTROLLER, "Seconds between renewals, and between a standby's looks at the Lease."
    )

    webhook_secret: str = _setting(
        "",
        CONTROLLER,
        "Secret that admission's certificate is issued into; its authority is kept in the Secret "
        "of that name and -ca. Unset: the controller issues no certificates.",
    )
    webhook_namespace: str = _setting(
        "", CONTROLLER, "Namespace of Secret and Service. Unset: as of --lease-namespace."
    )
    webhook_service: str = _setting(
        "", CONTROLLER, "Service that the API server reaches admission by."
    )
    webhook_dns_names: str = _setting(
        "",
        CONTROLLER,
        "Other DNS names and IP addresses to issue the certificate for, separated by commas: of "
        "an admission that runs outside the cluster. A port is ignored.",
    )
    webhook_configuration: str = _setting(
        "",
        CONTROLLER,
        "ValidatingWebhookConfigurations, separated by commas, whose caBundles are to trust that "
        "authority.",
    )
    certificate_seconds: float = _setting(
        90 * 86400.0,
        CONTROLLER,
        "Seconds that a serving certificate lives; it is replaced after two thirds.",
    )
    authority_seconds: float = _setting(
        2 * 365 * 86400.0,
        CONTROLLER,
        "Seconds that its authority lives; it is replaced after two thirds.",
    )
    certificate_propagation_seconds: float = _setting(
        300.0,
        CONTROLLER,
        "Seconds that a new authority is published before a certificate of it serves, and that "
        "the old one is trusted after that: every API server must have seen the caBundle, and "
        "every admission process must have read its Secret again.",
    )
    certificate_check_seconds: float = _setting(
        60.0,
        CONTROLLER,
        "Seconds between looks at Secrets and caBundle; changes are watched for besides.",
    )

    admission_host: str = _setting("0.0.0.0", ADMISSION, "Address that admission listens on.")
    admission_port: int = _setting(9443, ADMISSION, "Port that admission listens on, over TLS.")
    tls_cert: str = _setting(
        "/tls/tls.crt", ADMISSION, "Serving certificate (PEM, with its chain)."
    )
    tls_key: str = _setting("/tls/tls.key", ADMISSION, "Its key (PEM).")
    client_ca_file: str = _setting(
        "",
        ADMISSION,
        "Authorities (PEM) of whom only the API server has a certificate: nobody else is served. "
        "Unset: whoever reaches the port is.",
    )
    tls_reload_seconds: float = _setting(
        10.0, ADMISSION, "Seconds between looks at whether one of these files has changed."
    )
    admission_deciders: int = _setting(
        3, ADMISSION, "Processes that decide. A namespace never occupies all of them."
    )
    admission_connections: int = _setting(
        512, ADMISSION, "Connections at once; above it the oldest idle one is closed."
    )
    admission_hurry_seconds: float = _setting(
        5.0, ADMISSION, "Seconds that a handshake may take, and a request's headers."
    )
    admission_in_flight: int = _setting(64, ADMISSION, "Reviews judged at once.")
    admission_max_waiting: int = _setting(
        512, ADMISSION, "Reviews under way or waiting, above which the answer is 503 at once."
    )
    admission_body_seconds: float = _setting(
        4.0, ADMISSION, "Seconds that a review's body may take to arrive whole."
    )
    admission_drain_seconds: float = _setting(
        5.0, ADMISSION, "Seconds that admission goes on serving after it was told to stop."
    )
