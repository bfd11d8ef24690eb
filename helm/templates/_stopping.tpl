{{/* A duration of the configuration, in milliseconds. */}}
{{- define "roomcast.ms" -}}
{{- $text := include "roomcast.setting" . | nospace -}}
{{- if not (regexMatch "^(0|([0-9]+(ms|s|m|h))+)$" $text) -}}
{{- fail (printf "config.%s: %q is not a duration that the chart can reckon with; write it as 500ms, 25s or 2m" .key $text) -}}
{{- end -}}
{{- $ms := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" $text -1 -}}
{{- $number := regexFind "^[0-9]+" . -}}
{{- $unit := trimPrefix $number . -}}
{{- $ms = add $ms (mul (int64 $number) (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) $unit)) -}}
{{- end -}}
{{- $ms -}}
{{- end -}}

{{/*
Seconds that a pod waits before its node is told to stop: what load balancers need beyond what the node itself waits,
which is `drain.wait`, and at most half of `drain.timeout`.
*/}}
{{- define "roomcast.preStop" -}}
{{- $wait := include "roomcast.ms" (dict "root" . "key" "drain.wait" "default" "5s") | int64 -}}
{{- $timeout := include "roomcast.ms" (dict "root" . "key" "drain.timeout" "default" "25s") | int64 -}}
{{- $waits := div (min $wait (div $timeout 2)) 1000 -}}
{{- max 0 (sub (int64 .Values.stopping.loadBalancerSeconds) $waits) -}}
{{- end -}}

{{/* Seconds until a pod is killed: never before its node has ended by itself. */}}
{{- define "roomcast.grace" -}}
{{- $timeout := include "roomcast.ms" (dict "root" . "key" "drain.timeout" "default" "25s") | int64 -}}
{{- $needs := add (include "roomcast.preStop" . | int64) (div (add $timeout 999) 1000) -}}
{{- $given := int64 .Values.stopping.terminationGracePeriodSeconds -}}
{{- if not $given -}}
{{- add $needs 5 -}}
{{- else if le $given $needs -}}
{{- fail (printf "stopping.terminationGracePeriodSeconds: %d seconds are too short, nodes would be killed while they close connections; set it above %d, or shorten config.drain.timeout" $given $needs) -}}
{{- else -}}
{{- $given -}}
{{- end -}}
{{- end -}}
