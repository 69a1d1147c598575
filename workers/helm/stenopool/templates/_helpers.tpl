{{/* Labels that select a component's pods; they never change. Takes [root, component]. */}}
{{- define "stenopool.selector" -}}
{{- $component := index . 1 -}}
{{- $prefect := has $component (list "server" "services") | ternary "prefect-server" (hasPrefix "worker-" $component | ternary "prefect-worker" "stenopool") -}}
app.kubernetes.io/name: {{ $prefect }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ $component }}
{{- end }}

{{/* Labels of everything. Takes [root, component]. */}}
{{- define "stenopool.labels" -}}
{{- $root := index . 0 -}}
{{ include "stenopool.selector" . }}
app.kubernetes.io/part-of: stenopool
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* Name, namespace and labels of an object in the release's namespace. Takes [root, component, name]. */}}
{{- define "stenopool.metadata" -}}
name: {{ index . 2 }}
namespace: {{ (index . 0).Release.Namespace }}
labels: {{- include "stenopool.labels" . | nindent 2 }}
{{- end }}

{{/* The labels and annotations of a component's pods. Takes [root, component, what restarts them when it changes]. */}}
{{- define "stenopool.podMetadata" -}}
{{- $values := (index . 0).Values -}}
labels:
  {{- include "stenopool.labels" . | nindent 2 }}
  {{- with $values.pods.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # A change of settings restarts the pods. A change of secrets does not: run `kubectl rollout restart`.
  checksum/settings: {{ toJson (list $values.prefect $values.storage (index . 2)) | sha256sum }}
  {{- with $values.pods.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Common to every pod of this chart. Takes [root, component, service account]. */}}
{{- define "stenopool.pod" -}}
{{- $values := (index . 0).Values -}}
serviceAccountName: {{ index . 2 }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $values.priorityClass.name }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.pods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.pods.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with $values.pods.user }}
  runAsUser: {{ . }}
  runAsGroup: 0
  # Makes volumes readable for the group of the image's folders.
  fsGroup: 0
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile: { type: RuntimeDefault }
# GPU nodes should have a taint; this also works without it.
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - { key: accelerator, operator: NotIn, values: [nvidia] }
# Replicas prefer different zones and nodes.
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "stenopool.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}

{{/* Common to every container. The image's entry point, tini, runs `args` and forwards signals. Takes [root, name]. */}}
{{- define "stenopool.image" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
image: {{ include "stenopool.imageName" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- define "stenopool.imageName" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "%s-cpu" .Chart.AppVersion) }}
{{- end }}

{{/* Containers that are clients of Prefect and of the store. Settings come from a ConfigMap, secrets by reference. Takes [root, component]. */}}
{{- define "stenopool.container" -}}
{{- $root := index . 0 -}}
{{ include "stenopool.image" . }}
{{- if $root.Values.prefect.authSecret.name }}
env:
  - {{- include "stenopool.password" $root | nindent 4 }}
{{- end }}
envFrom:
  - configMapRef: { name: {{ $root.Release.Name }}-{{ index . 1 }} }
  - secretRef: { name: {{ $root.Values.storage.secret }}, optional: true }
{{- end }}

{{/* The password of Prefect's clients, as a variable. */}}
{{- define "stenopool.password" -}}
name: PREFECT_API_AUTH_STRING
valueFrom: { secretKeyRef: { name: {{ .Values.prefect.authSecret.name }}, key: {{ .Values.prefect.authSecret.key }} } }
{{- end }}

{{/* With the namespace: runs are in another one. */}}
{{- define "stenopool.prefectUrl" -}}
{{ .Values.prefect.apiUrl | default (printf "http://prefect-server.%s.svc:4200/api" .Release.Namespace) }}
{{- end }}

{{/* Settings without secrets, for API and exporter. */}}
{{- define "stenopool.settings" -}}
PREFECT_API_URL: {{ include "stenopool.prefectUrl" . | quote }}
{{- include "stenopool.storage" . }}
{{ include "stenopool.folders" . }}
{{- end }}

{{- define "stenopool.storage" -}}
{{- with .Values.storage.region }}
AWS_REGION: {{ . | quote }}
{{- end }}
{{- with .Values.storage.endpoint }}
AWS_ENDPOINT_URL: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The root file system is read-only; only this folder is writable. */}}
{{- define "stenopool.folders" -}}
HOME: /tmp
PREFECT_HOME: /tmp/prefect
STENOPOOL_SCRATCH__DIR: /tmp
DO_NOT_TRACK: "1"
{{- end }}

{{/* Waits until Prefect's server responds; the kubelet repeats it until then. */}}
{{- define "stenopool.wait" -}}
- {{- include "stenopool.image" (list . "wait-for-prefect") | nindent 2 }}
  args: [python, -P, -m, stenopool.orchestration.workers.container, health, {{ include "stenopool.prefectUrl" . }}/ready]
  resources: { requests: { cpu: 10m, memory: 64Mi }, limits: { memory: 128Mi } }
{{- end }}

{{/* Peers of a network policy: addresses. "Everywhere" excludes the cloud's metadata service. */}}
{{- define "stenopool.addresses" -}}
{{- range . }}
- ipBlock:
    cidr: {{ . }}
    {{- if eq . "0.0.0.0/0" }}
    except: [169.254.0.0/16]
    {{- end }}
{{- end }}
{{- end }}

{{/* Peers of a network policy: whole namespaces, by name. */}}
{{- define "stenopool.namespaces" -}}
{{- range . }}
- namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ . }} } }
{{- end }}
{{- end }}

{{- define "stenopool.ports" -}}
{{- range . }}
- { protocol: TCP, port: {{ . }} }
{{- end }}
{{- end }}
