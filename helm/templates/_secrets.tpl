{{/*
Every secret that a node is given, as a JSON list. Of each:

  id        its key in the Secret of the release, and the name of its file
  key       the key of the configuration that it is for
  as        `file`, which the node may read again, or `env`, which it cannot
  value     what was given in the values; empty otherwise
  generate  whether it is made up when there is none yet
  name      the Secret that it is in, and
  item      its key there
*/}}
{{- define "roomcast.secrets" -}}
{{- $v := .Values -}}
{{- $found := list -}}
{{- $url := include "roomcast.given" $v.webhook.url -}}
{{- range $s := list
  (dict "id" "hmac-secret" "key" "auth.jwt.hmac_secret_file" "as" "file" "from" $v.auth.hmac "at" "auth.hmac"
    "generate" (eq (include "roomcast.hmac" $) "true"))
  (dict "id" "hmac-previous-secret" "key" "auth.jwt.hmac_previous_secret_file" "as" "file" "from" $v.auth.hmacPrevious "at" "auth.hmacPrevious")
  (dict "id" "api-keys" "key" "api.keys" "as" "env" "from" $v.api.keys "at" "api.keys" "generate" $v.api.keys.generate)
  (dict "id" "api-publish-keys" "key" "api.publish_keys" "as" "env" "from" $v.api.publishKeys "at" "api.publishKeys")
  (dict "id" "api-read-keys" "key" "api.read_keys" "as" "env" "from" $v.api.readKeys "at" "api.readKeys")
  (dict "id" "redis-url" "key" "redis.url" "as" "env" "from" $v.redis "at" "redis")
  (dict "id" "cluster-secret" "key" "cluster.secret_file" "as" "file" "from" $v.cluster "at" "cluster"
    "generate" (and $v.cluster.generate (eq (include "roomcast.redis" $) "true")))
  (dict "id" "amqp-url" "key" "amqp.url_file" "as" "file" "from" $v.amqp "at" "amqp")
  (dict "id" "webhook-url" "key" "webhook.url" "as" "env" "from" $v.webhook.url "at" "webhook.url")
  (dict "id" "webhook-secret" "key" "webhook.secret_file" "as" "file" "from" $v.webhook.secret "at" "webhook.secret"
    "generate" (eq $url "true"))
  (dict "id" "webhook-previous-secret" "key" "webhook.previous_secret_file" "as" "file" "from" $v.webhook.previousSecret "at" "webhook.previousSecret")
-}}
{{- $value := $s.from.value | default "" -}}
{{- if hasKey $s.from "values" -}}
{{- $value = join "," $s.from.values -}}
{{- end -}}
{{- $existing := $s.from.existingSecret -}}
{{- if and $value $existing.name -}}
{{- fail (printf "%s: give the value or the name of an existing Secret, not both" $s.at) -}}
{{- end -}}
{{- $name := include "roomcast.fullname" $ -}}
{{- $item := $s.id -}}
{{- if $existing.name -}}
{{- $name = $existing.name -}}
{{- $item = $existing.key -}}
{{- else if and (eq $s.id "redis-url") $v.redis.bundled.enabled -}}
{{- $name = printf "%s-redis" $name -}}
{{- end -}}
{{- $made := and (not $value) (not $existing.name) ($s.generate | default false) -}}
{{- if or $value $existing.name $made (ne $name (include "roomcast.fullname" $)) -}}
{{- $found = append $found (dict "id" $s.id "key" $s.key "as" $s.as "value" $value "generate" $made "name" $name "item" $item) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Whether a secret of the values is given, in either way. */}}
{{- define "roomcast.given" -}}
{{- if or .value .existingSecret.name -}}true{{- end -}}
{{- end -}}

{{/* Whether nodes can hear of each other. */}}
{{- define "roomcast.redis" -}}
{{- $redis := .Values.redis -}}
{{- $env := false -}}
{{- range .Values.extraEnv -}}
{{- if eq .name "ROOMCAST__REDIS__URL" -}}{{- $env = true -}}{{- end -}}
{{- end -}}
{{- if or $redis.value $redis.existingSecret.name $redis.bundled.enabled $env -}}true{{- end -}}
{{- end -}}

{{/* Whether tokens of a shared secret are accepted. */}}
{{- define "roomcast.hmac" -}}
{{- $auth := .Values.auth -}}
{{- $flat := dict -}}
{{- include "roomcast.flatten" (dict "node" .Values.config "path" "" "into" $flat) -}}
{{- $others := or (get $flat "auth.jwt.jwks_url") (include "roomcast.file" $auth.publicKey) (include "roomcast.file" $auth.jwks) -}}
{{- if eq $auth.hmac.mode "always" -}}
true
{{- else if and (eq $auth.hmac.mode "auto") (or (include "roomcast.given" $auth.hmac) (not $others)) -}}
true
{{- end -}}
{{- end -}}

{{/* Whether a file of the values is given, in either way. */}}
{{- define "roomcast.file" -}}
{{- if or .content .existingConfigMap.name -}}true{{- end -}}
{{- end -}}

{{- define "roomcast.env" -}}
{{- printf "ROOMCAST__%s" (. | replace "." "__" | upper) -}}
{{- end -}}
