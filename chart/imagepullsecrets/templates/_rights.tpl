{{/*
The rules of the roles: those that `imps rbac` prints for the same needs, which a test compares.
*/}}

{{/* named, namespaced or cluster. */}}
{{- define "imagepullsecrets.mode" -}}
{{- .Values.rbac.mode | default (ternary "named" "cluster" (not (empty .Values.rbac.targetSecretNames))) }}
{{- end -}}

{{/* The names of the target Secrets, as JSON. */}}
{{- define "imagepullsecrets.targets" -}}
{{- $names := .Values.rbac.targetSecretNames }}
{{- if .Values.defaultConfig.enabled }}{{- $names = append $names .Values.defaultConfig.targetSecretName }}{{- end }}
{{- $names | uniq | sortAlpha | toJson }}
{{- end -}}

{{/* The source Secrets, as a JSON list of namespace and name. */}}
{{- define "imagepullsecrets.sources" -}}
{{- $sources := .Values.rbac.sources }}
{{- if .Values.defaultConfig.enabled }}
{{- $sources = concat $sources (include "imagepullsecrets.defaultSources" . | fromJsonArray) }}
{{- end }}
{{- $sources | uniq | toJson }}
{{- end -}}

{{/* The sources of the release's own ImagePullSecret, as JSON. */}}
{{- define "imagepullsecrets.defaultSources" -}}
{{- $sources := .Values.defaultConfig.credentials }}
{{- if .Values.defaultSecret.enabled }}
{{- $own := dict "name" (printf "%s-default" (include "imagepullsecrets.controller" .)) "namespace" (include "imagepullsecrets.namespace" .) }}
{{- $sources = prepend $sources $own }}
{{- end }}
{{- $sources | toJson }}
{{- end -}}

{{/* Whether the operator reads pods. */}}
{{- define "imagepullsecrets.pods" -}}
{{- if or .Values.rbac.pods (and .Values.defaultConfig.enabled .Values.defaultConfig.namespacesWithPods) }}true{{ end }}
{{- end -}}

{{/* The ServiceAccounts that a rule names; none when a pattern may mean any. */}}
{{- define "imagepullsecrets.accountNames" -}}
{{- if not (contains "*" (join " " .Values.rbac.serviceAccounts)) }}
resourceNames:
  {{- toYaml (.Values.rbac.serviceAccounts | uniq | sortAlpha) | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "imagepullsecrets.targetRule" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, delete, get, list, patch, watch]
  {{- if ne (include "imagepullsecrets.mode" .) "cluster" }}
  resourceNames:
    {{- include "imagepullsecrets.targets" . | fromJsonArray | toYaml | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "imagepullsecrets.accountRule" -}}
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [list, patch, watch]
  {{- include "imagepullsecrets.accountNames" . | nindent 2 }}
{{- end -}}

{{- define "imagepullsecrets.subject" -}}
- kind: ServiceAccount
  name: {{ include "imagepullsecrets.serviceAccount" . }}
  namespace: {{ include "imagepullsecrets.namespace" . }}
{{- end -}}

{{/* Binds a Role of the operator to it. Arguments: those of the Role's metadata. */}}
{{- define "imagepullsecrets.binding" }}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "imagepullsecrets.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  {{- if eq .part "refresher" }}
  - kind: ServiceAccount
    name: {{ include "imagepullsecrets.refresher" .root }}
    namespace: {{ include "imagepullsecrets.namespace" .root }}
  {{- else }}
  {{- include "imagepullsecrets.subject" .root | nindent 2 }}
  {{- end }}
{{- end -}}
