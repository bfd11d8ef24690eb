{{/* Contradictions that the schema of the values cannot say. Each sentence says what to do. */}}
{{- define "roomcast.validate" -}}
{{- $v := .Values -}}
{{- $flat := dict -}}
{{- include "roomcast.flatten" (dict "node" $v.config "path" "" "into" $flat) -}}
{{- $redis := eq (include "roomcast.redis" .) "true" -}}
{{- $scaled := $v.autoscaling.enabled -}}
{{- $several := or $scaled (gt (int $v.replicaCount) 1) -}}
{{- $outside := or $v.ingress.enabled $v.httpRoute.enabled (ne $v.service.public.type "ClusterIP") -}}
{{- $polling := contains "polling" (include "roomcast.setting" (dict "root" . "key" "engine.transports" "default" "websocket,polling")) -}}

{{- if and $several (not $redis) -}}
{{- fail "several nodes need Redis to hear of each other: set redis.value, redis.existingSecret.name, or, for trials, redis.bundled.enabled; or stay with replicaCount 1 and without autoscaling" -}}
{{- end -}}
{{- if gt (len (compact (list $v.redis.value $v.redis.existingSecret.name (ternary "bundled" "" $v.redis.bundled.enabled)))) 1 -}}
{{- fail "redis: set only one of value, existingSecret.name and bundled.enabled" -}}
{{- end -}}
{{- if and $several $outside $polling (not $v.sticky.preset) -}}
{{- fail "several nodes and clients that poll need sticky sessions: set sticky.preset to what is in front of the nodes (external, if you see to it elsewhere), or config.engine.transports to [websocket]" -}}
{{- end -}}
{{- if and (has $v.sticky.preset (list "nginx" "haproxy" "traefik")) (not $v.ingress.enabled) -}}
{{- fail (printf "sticky.preset %s is for an Ingress: set ingress.enabled, or another preset" $v.sticky.preset) -}}
{{- end -}}
{{- if and (eq $v.sticky.preset "gateway") (not $v.httpRoute.enabled) -}}
{{- fail "sticky.preset gateway is for an HTTPRoute: set httpRoute.enabled, or another preset" -}}
{{- end -}}

{{- $hmac := eq (include "roomcast.hmac" .) "true" -}}
{{- $keys := or (get $flat "auth.jwt.jwks_url") (include "roomcast.file" $v.auth.publicKey) (include "roomcast.file" $v.auth.jwks) -}}
{{- if and (eq $v.auth.hmac.mode "never") (or (include "roomcast.given" $v.auth.hmac) (include "roomcast.given" $v.auth.hmacPrevious)) -}}
{{- fail "auth.hmac.mode is never, and there is a secret: remove auth.hmac.value, auth.hmac.existingSecret.name and those of auth.hmacPrevious, or set the mode to auto" -}}
{{- end -}}
{{- if not (or $hmac $keys) -}}
{{- fail "no key could verify a token: set auth.hmac.mode to auto, or give auth.publicKey, auth.jwks or config.auth.jwt.jwks_url" -}}
{{- end -}}
{{- if and (include "roomcast.given" $v.auth.hmacPrevious) (not (include "roomcast.given" $v.auth.hmac)) -}}
{{- fail "auth.hmacPrevious is the secret before that of auth.hmac: give the new one there, in the same way" -}}
{{- end -}}
{{- if and (or (include "roomcast.given" $v.webhook.secret) (include "roomcast.given" $v.webhook.previousSecret)) (not (include "roomcast.given" $v.webhook.url)) -}}
{{- fail "webhook.secret has nothing to sign: give webhook.url, too" -}}
{{- end -}}
{{- if and (has "webhook" (list (get $flat "hooks.connect") (get $flat "notices.to"))) (not (include "roomcast.given" $v.webhook.url)) -}}
{{- fail "config.hooks.connect or config.notices.to is webhook, and there is none: give webhook.url" -}}
{{- end -}}
{{- if and (eq (toString (get $flat "notices.to")) "stream") (not $redis) -}}
{{- fail "config.notices.to is stream, which is in Redis: set redis.value, redis.existingSecret.name or redis.bundled.enabled" -}}
{{- end -}}
{{- if and (or $v.ingress.enabled $v.httpRoute.enabled) (get $flat "limits.max_connections_per_ip") (not (get $flat "server.trusted_proxies")) -}}
{{- fail "config.limits.max_connections_per_ip would count all clients as one, since the proxy is the only address that nodes see: set config.server.trusted_proxies to the addresses of the ingress controller" -}}
{{- end -}}

{{- if $v.podDisruptionBudget.enabled -}}
{{- $bounds := compact (list (include "roomcast.text" $v.podDisruptionBudget.maxUnavailable) (include "roomcast.text" $v.podDisruptionBudget.minAvailable)) -}}
{{- if gt (len $bounds) 1 -}}
{{- fail "podDisruptionBudget: set only one of maxUnavailable and minAvailable; empty the other one" -}}
{{- else if not $bounds -}}
{{- fail "podDisruptionBudget: set maxUnavailable or minAvailable, or enabled to false" -}}
{{- end -}}
{{- end -}}

{{- if $scaled -}}
{{- $as := $v.autoscaling -}}
{{- if gt (int $as.minReplicas) (int $as.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas: exchange them" -}}
{{- end -}}
{{- if not (or (int $as.targetConnections) (int $as.targetCPUUtilizationPercentage)) -}}
{{- fail "autoscaling has nothing to go by: set targetConnections or targetCPUUtilizationPercentage" -}}
{{- end -}}
{{- if and (int $as.targetCPUUtilizationPercentage) (not (dig "requests" "cpu" "" $v.resources)) -}}
{{- fail "autoscaling.targetCPUUtilizationPercentage is a part of what a pod requests: set resources.requests.cpu, or the target to 0" -}}
{{- end -}}
{{- $most := int (get $flat "limits.max_connections" | default 0) -}}
{{- if and $most (int $as.targetConnections) (ge (int $as.targetConnections) $most) -}}
{{- fail "autoscaling.targetConnections is never reached, since config.limits.max_connections turns clients away before: set it below" -}}
{{- end -}}
{{- if and (eq $as.mode "keda") (int $as.targetConnections) (not $as.keda.serverAddress) -}}
{{- fail "autoscaling.mode keda asks Prometheus for the connections: set autoscaling.keda.serverAddress, or targetConnections to 0" -}}
{{- end -}}
{{- end -}}

{{- if and $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled -}}
{{- fail "metrics: a ServiceMonitor and a PodMonitor would count everything twice; enable one of them" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "ingress.enabled without a host would take all hosts of the controller: set ingress.hosts" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs a Gateway: set httpRoute.parentRefs" -}}
{{- end -}}
{{- $svc := $v.service.public -}}
{{- if and (eq $svc.type "ClusterIP") (or (int $svc.nodePort) $svc.externalTrafficPolicy) -}}
{{- fail "service.public.nodePort and externalTrafficPolicy are for the types NodePort and LoadBalancer: set service.public.type, or remove them" -}}
{{- end -}}
{{- if and (ne $svc.type "LoadBalancer") (or $svc.loadBalancerClass $svc.loadBalancerSourceRanges) -}}
{{- fail "service.public.loadBalancerClass and loadBalancerSourceRanges are for the type LoadBalancer: set service.public.type, or remove them" -}}
{{- end -}}

{{- $taken := dict "ROOMCAST__LISTEN" "service.public" "ROOMCAST__OPS__LISTEN" "service.ops" "ROOMCAST__POLICY" "policy" "ROOMCAST__SHADOW_POLICY" "shadowPolicy" -}}
{{- range fromJsonArray (include "roomcast.secrets" .) -}}
{{- $_ := set $taken (include "roomcast.env" .key) (.key | replace "_file" "") -}}
{{- end -}}
{{- range $v.extraEnv -}}
{{- if hasKey $taken .name -}}
{{- fail (printf "extraEnv: %s is set by the chart, from the values below %s; remove one of them" .name (get $taken .name)) -}}
{{- end -}}
{{- end -}}
{{- range $v.extraVolumeMounts -}}
{{- if or (eq .mountPath "/etc/roomcast") (hasPrefix "/etc/roomcast/" .mountPath) -}}
{{- fail (printf "extraVolumeMounts: %s is inside of /etc/roomcast, which is exchanged as a whole; mount it elsewhere" .mountPath) -}}
{{- end -}}
{{- end -}}
{{- range $v.extraVolumes -}}
{{- if eq .name "roomcast" -}}
{{- fail "extraVolumes: the name roomcast is the chart's own volume; take another one" -}}
{{- end -}}
{{- end -}}
{{- end -}}
