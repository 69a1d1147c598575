{{/* Labels that select a component's pods; they never change. Takes [root, component]. */}}
{{- define "stenopool.selector" -}}
app.kubernetes.io/name: stenopool
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
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

{{/* Common to every pod of this chart. The pods do not use the Kubernetes API. */}}
{{- define "stenopool.pod" -}}
serviceAccountName: {{ .Values.serviceAccounts.api.name }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 0
  # Makes volumes readable for the group of the image's folders.
  fsGroup: 0
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
# GPU nodes should have a taint; this also works without it.
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - { key: accelerator, operator: NotIn, values: [nvidia] }
{{- end }}

{{/* Common to their containers. Settings come from a ConfigMap, secrets by reference. Takes [root, component]. */}}
{{- define "stenopool.container" -}}
{{- $root := index . 0 -}}
{{- $values := $root.Values -}}
name: {{ index . 1 }}
image: "{{ $values.image.repository }}:{{ $values.image.tag | default (printf "%s-cpu" $root.Chart.AppVersion) }}"
imagePullPolicy: {{ $values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- with $values.prefect.authSecret }}
{{- if .name }}
env:
  - name: PREFECT_API_AUTH_STRING
    valueFrom: { secretKeyRef: { name: {{ .name }}, key: {{ .key }} } }
{{- end }}
{{- end }}
envFrom:
  - configMapRef: { name: {{ $root.Release.Name }}-{{ index . 1 }} }
  - secretRef: { name: {{ $values.storage.secret }}, optional: true }
{{- end }}

{{/* Settings without secrets, for both. */}}
{{- define "stenopool.settings" -}}
PREFECT_API_URL: {{ .Values.prefect.apiUrl | quote }}
{{- with .Values.storage.region }}
AWS_REGION: {{ . | quote }}
{{- end }}
{{- with .Values.storage.endpoint }}
AWS_ENDPOINT_URL: {{ . | quote }}
{{- end }}
# The root file system is read-only; only this folder is writable.
HOME: /tmp
PREFECT_HOME: /tmp/prefect
STENOPOOL_SCRATCH__DIR: /tmp
DO_NOT_TRACK: "1"
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
