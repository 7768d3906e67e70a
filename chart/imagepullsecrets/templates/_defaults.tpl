{{/* Written by `cargo xtask codegen` from values.yaml, do not edit. */}}
{{- define "imagepullsecrets.defaults" -}}
{
  "admissionPolicies.adoptable": [],
  "admissionPolicies.authors": false,
  "admissionPolicies.operator": false,
  "affinity": {},
  "clusterName": "",
  "commonAnnotations": {},
  "commonLabels": {},
  "controller.extraArgs": [],
  "controller.missingSourceGrace": 300,
  "controller.resyncInterval": 300,
  "crds.enabled": true,
  "crds.upgradeJob.enabled": true,
  "crds.upgradeJob.resources": {
    "limits": {
      "memory": "64Mi"
    },
    "requests": {
      "cpu": "10m",
      "memory": "32Mi"
    }
  },
  "defaultConfig.credentials": [],
  "defaultConfig.enabled": false,
  "defaultConfig.namespaces": {},
  "defaultConfig.namespacesWithPods": [],
  "defaultConfig.targetSecretName": "default-secret-name",
  "defaultSecret.enabled": false,
  "defaultSecret.stringData": {},
  "defaultSecret.type": "",
  "developmentMode.enabled": false,
  "dnsPolicy": "",
  "enabled": true,
  "env": {},
  "extraObjects": [],
  "fullnameOverride": "",
  "grafanaDashboard.annotations": {},
  "grafanaDashboard.enabled": false,
  "grafanaDashboard.labels": {
    "grafana_dashboard": "1"
  },
  "hostNetwork": false,
  "image.digest": "",
  "image.pullPolicy": "IfNotPresent",
  "image.registry": "",
  "image.repository": "",
  "image.tag": "",
  "imagePullSecrets": [],
  "istio.revision": "",
  "keyless": [],
  "leaderElection.enabled": true,
  "leaderElection.leaseDuration": null,
  "leaderElection.renewDeadline": null,
  "leaderElection.retryPeriod": null,
  "livenessProbe": {
    "failureThreshold": 6,
    "periodSeconds": 10
  },
  "log.format": "auto",
  "log.level": "info",
  "metrics.controllerRuntimeCompat": true,
  "nameOverride": "",
  "namespaceOverride": "",
  "networkPolicy.egress": [
    {
      "ports": [
        {
          "port": 53,
          "protocol": "UDP"
        },
        {
          "port": 53,
          "protocol": "TCP"
        }
      ]
    },
    {
      "ports": [
        {
          "port": 443,
          "protocol": "TCP"
        },
        {
          "port": 6443,
          "protocol": "TCP"
        }
      ]
    }
  ],
  "networkPolicy.enabled": false,
  "networkPolicy.metricsFrom": [],
  "nodeSelector": {},
  "operatorVersion": "",
  "podAnnotations": {},
  "podDisruptionBudget.enabled": false,
  "podDisruptionBudget.maxUnavailable": null,
  "podDisruptionBudget.minAvailable": null,
  "podLabels": {},
  "podMonitor.enabled": false,
  "podMonitor.labels": {},
  "podMonitor.scrapeInterval": "30s",
  "podSecurityContext": {
    "runAsNonRoot": true,
    "seccompProfile": {
      "type": "RuntimeDefault"
    }
  },
  "priorityClassName": "",
  "prometheusRule.additionalGroups": [],
  "prometheusRule.disabled": [],
  "prometheusRule.enabled": false,
  "prometheusRule.job": "",
  "prometheusRule.labels": {},
  "prometheusRule.runbookUrl": "docs/runbooks",
  "rbac.aggregateToView": true,
  "rbac.create": true,
  "rbac.mode": "",
  "rbac.namespaces": [],
  "rbac.pods": true,
  "rbac.serviceAccounts": [],
  "rbac.sources": [],
  "rbac.targetSecretNames": [],
  "rbac.tokens": [],
  "readinessProbe": {
    "periodSeconds": 5
  },
  "refresher.enabled": false,
  "refresher.extraArgs": [],
  "refresher.keyless": [],
  "refresher.resources": {
    "limits": {
      "memory": "64Mi"
    },
    "requests": {
      "cpu": "10m",
      "memory": "32Mi"
    }
  },
  "refresher.serviceAccountAnnotations": {},
  "refresher.sources": [],
  "refresher.target.name": "",
  "refresher.target.namespace": "",
  "replicaCount": null,
  "replicas": null,
  "resources": {
    "limits": {
      "memory": "128Mi"
    },
    "requests": {
      "cpu": "50m",
      "memory": "32Mi"
    }
  },
  "securityContext": {
    "allowPrivilegeEscalation": false,
    "capabilities": {
      "drop": [
        "ALL"
      ]
    },
    "readOnlyRootFilesystem": true
  },
  "service.port": 8080,
  "service.type": "ClusterIP",
  "serviceAccount.annotations": {},
  "serviceAccount.automount": true,
  "serviceAccount.create": true,
  "serviceAccount.labels": {},
  "serviceAccount.name": "",
  "serviceMonitor.enabled": false,
  "serviceMonitor.labels": {},
  "serviceMonitor.metricRelabelings": [],
  "serviceMonitor.relabelings": [],
  "serviceMonitor.scrapeInterval": "30s",
  "serviceMonitor.tlsConfig": {},
  "terminationGracePeriodSeconds": 30,
  "tolerations": [],
  "topologySpreadConstraints": [],
  "volumeMounts": [],
  "volumes": []
}
{{- end -}}
