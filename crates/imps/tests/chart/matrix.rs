//! The values that the chart is rendered with: each set stands for somebody who would use it.

/// The namespaces that appear in the sets.
pub(crate) const NAMESPACES: [&str; 2] = ["chart-sources", "chart-shop"];

/// The defaults of the chart that this one replaces (banzaicloud/imps:deploy/charts/imagepullsecrets/values.yaml), but
/// for its image.
pub(crate) const ORIGINAL: &str = r#"
clusterName: master
replicas: 1
istio: {revision: ""}
podAnnotations: {}
podSecurityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
imagePullSecrets: []
nodeSelector: {}
affinity: {}
tolerations: []
resources: {requests: {memory: 100Mi, cpu: 100m}, limits: {memory: 200Mi, cpu: 300m}}
service: {type: ClusterIP, port: 8080}
serviceAccount: {annotations: {}}
serviceMonitor: {scrapeInterval: 5s, tlsConfig: {}}
developmentMode: {enabled: false}
operatorVersion: ""
podDisruptionBudget: {enabled: false}
log: {}
env: {}
defaultConfig:
  {enabled: false, targetSecretName: default-secret-name, namespaces: {}, namespacesWithPods: [], credentials: []}
defaultSecret: {enabled: false, stringData: {}, type: ""}
nameOverride: ""
fullnameOverride: ""
"#;

/// A name for each set, and the values.
pub(crate) const MATRIX: &[(&str, &str)] = &[
    ("nothing but the image", "{}"),
    ("admission policies", "admissionPolicies: {operator: true, authors: true, adoptable: [pull, other]}"),
    ("the defaults of the original", ORIGINAL),
    (
        "an ImagePullSecret and its source",
        r#"
defaultConfig:
  enabled: true
  targetSecretName: pull
  namespaces: {labels: [{matchLabels: {pull: "yes"}}]}
  namespacesWithPods: {annotations: [{matchAnnotations: {sidecar.istio.io/inject: "true"}}]}
  credentials: [{name: hub, namespace: chart-sources}]
defaultSecret:
  enabled: true
  type: kubernetes.io/dockerconfigjson
  stringData: {.dockerconfigjson: '{"auths":{}}'}
"#,
    ),
    (
        "three replicas, spread",
        r#"
replicas: 3
podDisruptionBudget: {enabled: true}
priorityClassName: system-cluster-critical
topologySpreadConstraints:
  - {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/os, operator: In, values: [linux]}]}]
tolerations: [{key: dedicated, operator: Exists, effect: NoSchedule}]
nodeSelector: {kubernetes.io/arch: amd64}
"#,
    ),
    (
        "replicas by their usual name",
        "{replicaCount: 2, podDisruptionBudget: {enabled: true, minAvailable: 50%}}",
    ),
    (
        "rights on named Secrets",
        r#"
rbac:
  targetSecretNames: [pull, another]
  sources: [{namespace: chart-sources, name: hub}, {namespace: chart-sources, name: company}]
  pods: false
"#,
    ),
    (
        "rights on named ServiceAccounts and their tokens",
        r#"
keyless: [ambient, service-account]
rbac:
  mode: named
  targetSecretNames: [pull]
  sources: [{namespace: chart-sources, name: hub}]
  serviceAccounts: [default, builder]
  tokens: [{namespace: chart-sources, name: identity}, {namespace: chart-shop, name: identity}]
"#,
    ),
    ("rights on all ServiceAccounts", r#"{rbac: {serviceAccounts: ["*"]}}"#),
    (
        "rights in some namespaces",
        r#"
rbac:
  mode: namespaced
  namespaces: [chart-shop]
  targetSecretNames: [pull]
  sources: [{namespace: chart-sources, name: hub}]
  serviceAccounts: [default]
"#,
    ),
    (
        "roles and account by other means",
        "{rbac: {create: false}, serviceAccount: {create: false, name: theirs, automount: true}}",
    ),
    (
        "an account with a role of AWS",
        r#"
serviceAccount:
  name: puller
  labels: {team: a}
  annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/r"}
"#,
    ),
    (
        "a ServiceMonitor, alerts and dashboards",
        r#"
serviceMonitor: {enabled: true, labels: {release: prometheus}, relabelings: [{action: labeldrop, regex: pod}]}
prometheusRule:
  enabled: true
  labels: {release: prometheus}
  disabled: [ImpsSuspendedForLong]
  runbookUrl: https://wiki.example/imps
  job: imps
  additionalGroups: [{name: ours, rules: [{alert: Ours, expr: vector(1)}]}]
grafanaDashboard: {enabled: true, annotations: {grafana_folder: imps}}
"#,
    ),
    ("a PodMonitor", "{podMonitor: {enabled: true, scrapeInterval: 1m}}"),
    (
        "a refresher behind network policies",
        r#"
networkPolicy:
  enabled: true
  metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
refresher:
  enabled: true
  sources: [{namespace: chart-sources, name: hub}, {namespace: chart-shop, name: own}]
  target: {namespace: chart-shop, name: pull}
  extraArgs: ["--missing-source-grace=60"]
podMonitor: {enabled: true}
"#,
    ),
    (
        "a refresher with an identity",
        r#"
refresher:
  enabled: true
  sources: [{namespace: chart-shop, name: identity}]
  target: {namespace: chart-shop, name: pull}
  keyless: [ambient]
  serviceAccountAnnotations: {iam.gke.io/gcp-service-account: a@b.iam.gserviceaccount.com}
"#,
    ),
    (
        "more objects",
        r#"
extraObjects:
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: "{{ .Release.Name }}-map"}
    data: {name: '{{ include "imagepullsecrets.controller" . }}'}
  - |
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: {{ .Release.Name }}-text
"#,
    ),
    (
        "other names, labels and annotations",
        r#"
nameOverride: creds
fullnameOverride: pulls
commonLabels: {cost-centre: "17"}
commonAnnotations: {contact: platform}
podLabels: {sidecar.istio.io/inject: "false"}
podAnnotations: {a: b}
"#,
    ),
    (
        "an image by digest from a registry with a login",
        r#"
image:
  registry: registry.example
  repository: team/imps
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  pullPolicy: Always
imagePullSecrets: [{name: pull}]
"#,
    ),
    (
        "variables as a list",
        r#"
env:
  - {name: HTTPS_PROXY, value: "http://proxy:3128"}
  - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
"#,
    ),
    (
        "variables as a map",
        r#"
env:
  HTTPS_PROXY: http://proxy:3128
  WIDTH: 80
  IP: {valueFrom: {fieldRef: {fieldPath: status.podIP}}}
"#,
    ),
    ("the definition by other means", "{crds: {enabled: false}}"),
    ("the definition without its Job", "{crds: {upgradeJob: {enabled: false}}}"),
    (
        "arguments",
        r#"
leaderElection: {enabled: false}
metrics: {controllerRuntimeCompat: false}
controller: {resyncInterval: 0, missingSourceGrace: 60, extraArgs: ["--log.format=json"]}
log: {level: panic, format: json}
livenessProbe: {initialDelaySeconds: 5}
readinessProbe: {}
dnsPolicy: ClusterFirst
terminationGracePeriodSeconds: 60
"#,
    ),
    (
        "a token that the pod brings itself",
        r#"
serviceAccount: {automount: false}
volumes:
  - name: token
    projected:
      sources:
        - serviceAccountToken: {path: token}
        - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
        - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
volumeMounts: [{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}]
"#,
    ),
    ("part of another chart", "{enabled: true, global: {anything: goes}}"),
];
