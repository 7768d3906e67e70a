{{/*
Every template begins with this: missing values are filled in, and what cannot work is refused with a sentence.
With `helm upgrade --reuse-values` the values of the last release come without the defaults of this chart, so that any
key may be missing.
*/}}
{{- define "imagepullsecrets.begin" -}}
{{- range $path, $default := include "imagepullsecrets.defaults" . | fromJson }}
{{- $at := $.Values }}
{{- $words := splitList "." $path }}
{{- range $word := initial $words }}
{{- if not (kindIs "map" (get $at $word)) }}{{- $_ := set $at $word dict }}{{- end }}
{{- $at = get $at $word }}
{{- end }}
{{- if not (hasKey $at (last $words)) }}{{- $_ := set $at (last $words) $default }}{{- end }}
{{- end }}
{{- $image := .Values.image.repository }}
{{- if contains "banzaicloud/imagepullsecrets" $image }}
{{- fail (printf "image.repository is %s, the image of the chart that this one replaces: use --reset-then-reuse-values instead of --reuse-values, and take image.repository and image.tag out of your own values or set them to the image of imps" $image) }}
{{- end }}
{{- if not $image }}
{{- fail "image.repository is empty: set it to where your image of imps is, such as --set image.repository=registry.example/imps" }}
{{- end }}
{{- if and .Values.podMonitor.enabled .Values.serviceMonitor.enabled }}
{{- fail "serviceMonitor.enabled and podMonitor.enabled are both true, so that every metric would be read twice: choose one" }}
{{- end }}
{{- if and (eq .Values.rbac.mode "named") (not (include "imagepullsecrets.targets" . | fromJsonArray)) }}
{{- fail "rbac.mode is named, but rbac.targetSecretNames is empty: name the Secrets that your ImagePullSecrets write" }}
{{- end }}
{{- if and (eq .Values.rbac.mode "namespaced") (not .Values.rbac.namespaces) }}
{{- fail "rbac.mode is namespaced, but rbac.namespaces is empty: name the namespaces" }}
{{- end }}
{{- if and .Values.refresher.enabled (or (not .Values.refresher.sources) (not .Values.refresher.target.name) (not .Values.refresher.target.namespace)) }}
{{- fail "refresher.enabled needs refresher.sources, refresher.target.namespace and refresher.target.name" }}
{{- end }}
{{- if and .Values.defaultConfig.enabled (not .Values.defaultConfig.credentials) (not .Values.defaultSecret.enabled) }}
{{- fail "defaultConfig.enabled needs a source: list defaultConfig.credentials or set defaultSecret.enabled" }}
{{- end }}
{{- end -}}

{{/* Names: as the chart that this one replaces made them. */}}
{{- define "imagepullsecrets.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "imagepullsecrets.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (default .Chart.Name .Values.nameOverride) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end -}}

{{- define "imagepullsecrets.controller" -}}
{{ include "imagepullsecrets.fullname" . }}-controller
{{- end -}}

{{- define "imagepullsecrets.refresher" -}}
{{ include "imagepullsecrets.fullname" . }}-refresher
{{- end -}}

{{/*
Values of the label `job` that metrics of the release have: the Prometheus operator takes the name of the Service from a
ServiceMonitor, and from a PodMonitor its own.
*/}}
{{- define "imagepullsecrets.jobs" -}}
{{- $namespace := include "imagepullsecrets.namespace" . }}
{{- $controller := include "imagepullsecrets.controller" . }}
{{- $given := ternary (printf "%s/%s" $namespace $controller) $controller .Values.podMonitor.enabled }}
{{- $jobs := list (.Values.prometheusRule.job | default $given) }}
{{- if and .Values.refresher.enabled (or .Values.serviceMonitor.enabled .Values.podMonitor.enabled) }}
{{- $jobs = append $jobs (printf "%s/%s" $namespace (include "imagepullsecrets.refresher" .)) }}
{{- end }}
{{- $jobs | toJson }}
{{- end -}}

{{- define "imagepullsecrets.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end -}}

{{- define "imagepullsecrets.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "imagepullsecrets.controller" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end -}}

{{- define "imagepullsecrets.image" -}}
{{- $image := .Values.image }}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end -}}

{{/* The labels of the selector, which can never change. Arguments: root, part (controller or refresher). */}}
{{- define "imagepullsecrets.selector" -}}
app.kubernetes.io/name: {{ include "imagepullsecrets.name" .root }}-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "imagepullsecrets.labels" -}}
app: {{ include "imagepullsecrets.fullname" .root }}-{{ .part }}
{{ include "imagepullsecrets.selector" . }}
app.kubernetes.io/component: imagepullsecret-{{ .part }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: {{ include "imagepullsecrets.name" .root }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | replace "+" "_" | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/*
The metadata of an object. Arguments: root, part, name; optional: namespace ("" for none), labels, annotations.
*/}}
{{- define "imagepullsecrets.metadata" -}}
name: {{ .name }}
{{- if not (hasKey . "namespace") }}
namespace: {{ include "imagepullsecrets.namespace" .root }}
{{- else if .namespace }}
namespace: {{ .namespace }}
{{- end }}
labels:
  {{- include "imagepullsecrets.labels" . | nindent 2 }}
  {{- with merge (dict) (.labels | default dict) .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What all pods have in common. */}}
{{- define "imagepullsecrets.pod" -}}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if .Values.hostNetwork }}
hostNetwork: true
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- end -}}

{{/* What the containers of the controller and of the refresher have in common. */}}
{{- define "imagepullsecrets.container" -}}
image: {{ include "imagepullsecrets.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
ports:
  - name: metrics
    containerPort: 8080
    protocol: TCP
livenessProbe:
  httpGet:
    path: /livez
    port: metrics
  {{- with .Values.livenessProbe }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
readinessProbe:
  httpGet:
    path: /readyz
    port: metrics
  {{- with .Values.readinessProbe }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  {{- with .Values.log.level }}
  - name: LOG_LEVEL
    value: {{ . | quote }}
  {{- end }}
  - name: LOG_FORMAT
    value: {{ .Values.log.format }}
  {{- if kindIs "map" .Values.env }}
  {{- range $name, $value := .Values.env }}
  - name: {{ $name }}
    {{- if kindIs "map" $value }}
    {{- toYaml $value | nindent 4 }}
    {{- else }}
    value: {{ $value | toString | quote }}
    {{- end }}
  {{- end }}
  {{- else }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* How many operators run. */}}
{{- define "imagepullsecrets.replicas" -}}
{{- if not (kindIs "invalid" .Values.replicas) }}
{{- .Values.replicas }}
{{- else if not (kindIs "invalid" .Values.replicaCount) }}
{{- .Values.replicaCount }}
{{- else -}}
1
{{- end }}
{{- end -}}
