{{/* The value of app.kubernetes.io/name. */}}
{{- define "plimsoll.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What objects are called: short enough that every suffix of ours fits into 63 letters. */}}
{{- define "plimsoll.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "plimsoll.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "plimsoll.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "plimsoll.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "plimsoll.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: plimsoll
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What pods of one component are selected by. (list $ "webhook") */}}
{{- define "plimsoll.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "plimsoll.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of an object that belongs to one component. */}}
{{- define "plimsoll.componentLabels" -}}
{{ include "plimsoll.labels" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "plimsoll.image" -}}
{{- $image := .Values.image -}}
{{- $name := list $image.registry $image.repository | compact | join "/" -}}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}
{{- else }}{{ $name }}:{{ default .Chart.AppVersion $image.tag }}
{{- end }}
{{- end }}

{{- define "plimsoll.serviceAccountName" -}}
{{- $root := index . 0 -}}
{{- $account := (index $root.Values (index . 1)).serviceAccount -}}
{{- if $account.create }}
{{- default (printf "%s-%s" (include "plimsoll.fullname" $root) (index . 1)) $account.name }}
{{- else }}
{{- default "default" $account.name }}
{{- end }}
{{- end }}

{{/* The ConfigMap with the authorities of the API server's client certificate; empty: none. */}}
{{- define "plimsoll.clientCA" -}}
{{- .Values.webhook.clientCA.configMap | default (ternary "plimsoll-client-ca" "" (eq .Values.securityProfile "hardened")) }}
{{- end }}

{{- define "plimsoll.tlsSecretName" -}}
{{- if eq .Values.tls.mode "secret" }}
{{- .Values.tls.secret.name }}
{{- else }}
{{- include "plimsoll.fullname" . }}-webhook-tls
{{- end }}
{{- end }}

{{- define "plimsoll.leaseName" -}}
{{- default (printf "%s-controller" (include "plimsoll.fullname" .)) .Values.controller.leaderElection.leaseName }}
{{- end }}

{{/* How the API server reaches admission, and by what it trusts it. */}}
{{- define "plimsoll.clientConfig" -}}
{{- with .Values.webhook.url.host }}
url: https://{{ . }}/fit
{{- else }}
service:
  name: {{ include "plimsoll.fullname" . }}-webhook
  namespace: {{ .Release.Namespace }}
  path: /fit
  port: 443
{{- end }}
{{- if and (eq .Values.tls.mode "secret") .Values.tls.secret.caBundle }}
caBundle: {{ .Values.tls.secret.caBundle }}
{{- end }}
{{- end }}

{{/* An expression of a selector: not the namespaces in which nothing is checked. */}}
{{- define "plimsoll.notExcluded" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values:
  {{- range append .Values.webhook.excludedNamespaces .Release.Namespace | uniq }}
  - {{ . }}
  {{- end }}
{{- end }}

{{/* The namespaces of which reviews of other people's kinds are sent. */}}
{{- define "plimsoll.workloadsSelector" -}}
{{- with .Values.guard.namespaceSelector.matchLabels }}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
matchExpressions:
{{- with .Values.guard.namespaceSelector.matchExpressions }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{ include "plimsoll.notExcluded" . }}
{{- end }}

{{/* The registrations that the controller keeps trusted, separated by commas. */}}
{{- define "plimsoll.configurations" -}}
{{- include "plimsoll.fullname" . }}
{{- if .Values.guard.enabled }},{{ include "plimsoll.fullname" . }}-workloads{{ end }}
{{- end }}

{{/* Whether the controller issues the certificate: "true" or nothing. */}}
{{- define "plimsoll.selfManaged" -}}
{{- if and .Values.webhook.enabled (eq .Values.tls.mode "self-managed") }}true{{ end }}
{{- end }}

{{/* The part of a pod's spec that is the same in both Deployments. (list $ "webhook") */}}
{{- define "plimsoll.podSpec" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index $root.Values $component -}}
{{- $selector := fromYaml (include "plimsoll.selectorLabels" .) -}}
serviceAccountName: {{ include "plimsoll.serviceAccountName" . }}
automountServiceAccountToken: true
enableServiceLinks: false
terminationGracePeriodSeconds: 30
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
affinity:
{{- with $values.affinity }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- toYaml $selector | nindent 12 }}
{{- end }}
topologySpreadConstraints:
{{- with $values.topologySpreadConstraints }}
{{- range . }}
- {{ merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" $selector)) | toYaml | nindent 2 | trim }}
{{- end }}
{{- else }}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- toYaml $selector | nindent 6 }}
{{- end }}
{{- end }}

{{/* Probes, resources and rights of a container. (list $ "webhook") */}}
{{- define "plimsoll.container" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
image: {{ include "plimsoll.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml $root.Values.securityContext | nindent 2 }}
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 3
{{- end }}

{{/* Environment of a container: settings as variables, so that a flag given twice cannot differ. */}}
{{- define "plimsoll.env" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
- name: PLIMSOLL_LOG_LEVEL
  value: {{ $root.Values.logging.level }}
- name: PLIMSOLL_LOG_FORMAT
  value: {{ $root.Values.logging.format }}
{{- if $root.Values.accelerators }}
- name: PLIMSOLL_ACCELERATORS
  value: {{ printf "%s/%s-accelerators" $root.Release.Namespace (include "plimsoll.fullname" $root) }}
{{- end }}
{{- with $root.Values.calibration.configMap }}
- name: PLIMSOLL_CALIBRATION
  value: {{ printf "%s/%s" $root.Release.Namespace . }}
{{- end }}
- name: PLIMSOLL_RESOLVED_NAMESPACE
  valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}
- name: PLIMSOLL_METRICS_PORT
  value: {{ $values.metricsPort | quote }}
{{- end }}

{{/* Environment of the controller that asks a hub for models. */}}
{{- define "plimsoll.resolverEnv" -}}
{{- with .Values.resolver -}}
- name: PLIMSOLL_RESOLVE_MODELS
  value: "true"
- name: PLIMSOLL_RESOLVE_SECONDS
  value: {{ .seconds | quote }}
- name: HF_HOME
  value: /var/cache/plimsoll
- name: HF_HUB_DISABLE_TELEMETRY
  value: "1"
{{- with .endpoint }}
- name: HF_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .proxy }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .noProxy }}
- name: NO_PROXY
  value: {{ . | quote }}
{{- end }}
{{- if .offline }}
- name: HF_HUB_OFFLINE
  value: "1"
{{- end }}
{{- if .tokenSecret.name }}
- name: HF_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .tokenSecret.name }}, key: {{ .tokenSecret.key }}}}
{{- end }}
{{- end }}
{{- end }}
