{{- /* The image of a program: include "ebbtide.image" (list . "ebbtide-broker"). */ -}}
{{- define "ebbtide.image" -}}
{{- $ := index . 0 -}}
{{- printf "%s/%s:%s" $.Values.image.registry (index . 1) (default $.Chart.AppVersion $.Values.image.tag) -}}
{{- end -}}

{{- /* The labels of what belongs to a part: include "ebbtide.labels" "ebbtide-broker". */ -}}
{{- define "ebbtide.labels" -}}
app.kubernetes.io/name: {{ . }}
app.kubernetes.io/part-of: ebbtide
{{- end -}}

{{- /* Fields of a pod that every part has: include "ebbtide.pod" (list . .Values.broker). */ -}}
{{- define "ebbtide.pod" -}}
{{- $ := index . 0 -}}
{{- $part := index . 1 -}}
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The BrokerConfiguration: what the values say, and broker.config over it. */ -}}
{{- define "ebbtide.brokerConfig" -}}
{{- $c := dict "apiVersion" "ebbtide.dev/v1alpha1" "kind" "BrokerConfiguration" -}}
{{- if .Values.advise }}{{ $_ := set $c "advise" true }}{{ end -}}
{{- $_ := set $c "prometheus" (dict "url" .Values.prometheus.url) -}}
{{- $_ := set $c "ledger" (dict "path" "/var/lib/ebbtide/ledger.db") -}}
{{- if .Values.broker.certificate.secretName -}}
{{- $_ := set $c "http" (dict "bindAddress" ":8443" "certFile" "/etc/ebbtide-tls/tls.crt" "keyFile" "/etc/ebbtide-tls/tls.key") -}}
{{- end -}}
{{- if .Values.externalMetrics.enabled -}}
{{- $served := dict "bindAddress" ":6443" -}}
{{- if .Values.externalMetrics.secretName -}}
{{- $_ := set $served "certFile" "/etc/ebbtide-external-metrics-tls/tls.crt" -}}
{{- $_ := set $served "keyFile" "/etc/ebbtide-external-metrics-tls/tls.key" -}}
{{- end -}}
{{- $_ := set $c "externalMetrics" $served -}}
{{- end -}}
{{- toYaml (mergeOverwrite $c (deepCopy .Values.broker.config)) -}}
{{- end -}}

{{- /* The KubeSchedulerConfiguration of the mode: with its comments, unless a plugin's argument
is another than its default. */ -}}
{{- define "ebbtide.schedulerConfig" -}}
{{- $names := dict "second" "second-scheduler" "beside" "beside-default" "replace" "replace-default" -}}
{{- $text := .Files.Get (printf "files/%s.yaml" (get $names .Values.scheduler.mode)) -}}
{{- $config := fromYaml $text -}}
{{- $changed := false -}}
{{- range $profile := $config.profiles -}}
{{- range $entry := $profile.pluginConfig -}}
{{- if eq $entry.name "Ebbtide" -}}
{{- range $name, $value := $.Values.scheduler.plugin -}}
{{- if ne $value (get $entry.args $name) }}{{ $changed = true }}{{ end -}}
{{- $_ := set $entry.args $name $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $changed }}{{ toYaml $config }}{{ else }}{{ $text }}{{ end -}}
{{- end -}}

{{- /* What a schema cannot say of the values. */ -}}
{{- define "ebbtide.check" -}}
{{- if ne .Release.Namespace "ebbtide-system" -}}
{{- fail (printf "Ebbtide installs into the namespace ebbtide-system, not %s: its admission policies name it. Run helm with --namespace ebbtide-system" .Release.Namespace) -}}
{{- end -}}
{{- if and (not .Values.admissionPolicies) (not .Values.advise) -}}
{{- fail "admissionPolicies: false takes advise: true, since nothing is lent without the policies" -}}
{{- end -}}
{{- if and .Values.dynamicResources.enabled (not .Values.agent.enabled) -}}
{{- fail "dynamicResources.enabled takes agent.enabled: the agents hand slices out" -}}
{{- end -}}
{{- with .Values.broker.certificate -}}
{{- if and .certManager (not .secretName) -}}
{{- fail "broker.certificate.certManager takes broker.certificate.secretName, the Secret that cert-manager is to write" -}}
{{- end -}}
{{- if and .certManager (not .issuerRef.name) -}}
{{- fail "broker.certificate.certManager takes broker.certificate.issuerRef.name, who signs" -}}
{{- end -}}
{{- end -}}
{{- end -}}
