{{/* Puts every value of a tree into one dict, by its path. */}}
{{- define "roomcast.flatten" -}}
{{- range $name, $value := .node -}}
{{- if kindIs "map" $value -}}
{{- include "roomcast.flatten" (dict "node" $value "path" (printf "%s%s." $.path $name) "into" $.into) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $.into (printf "%s%s" $.path $name) $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Sets a value in a tree. */}}
{{- define "roomcast.set" -}}
{{- $node := .tree -}}
{{- $parts := splitList "." .path -}}
{{- range initial $parts -}}
{{- if not (hasKey $node .) -}}
{{- $_ := set $node . dict -}}
{{- end -}}
{{- $node = get $node . -}}
{{- end -}}
{{- $_ := set $node (last $parts) .value -}}
{{- end -}}

{{/* What the chart decides or knows to be secret, and the value that does it. */}}
{{- define "roomcast.owned" -}}
listen: the port is always 3000; service.public.port is the one of the Service
policy: set policy.content, policy.builtin or policy.existingConfigMap
shadow_policy: set shadowPolicy.content, shadowPolicy.builtin or shadowPolicy.existingConfigMap
ops.listen: the port is always 3001; service.ops.port is the one of the Service
ops.tls_cert_file: set tls.ops.existingSecret
ops.tls_key_file: set tls.ops.existingSecret
server.tls_cert_file: set tls.public.existingSecret
server.tls_key_file: set tls.public.existingSecret
redis.url: set redis.value or redis.existingSecret, since it may hold a password
cluster.secret_file: set cluster.value or cluster.existingSecret
amqp.url: set amqp.value or amqp.existingSecret, since it may hold a password
amqp.url_file: set amqp.value or amqp.existingSecret
auth.jwt.hmac_secret: set auth.hmac.value or auth.hmac.existingSecret
auth.jwt.hmac_secret_file: set auth.hmac.value or auth.hmac.existingSecret
auth.jwt.hmac_previous_secret: set auth.hmacPrevious.value or auth.hmacPrevious.existingSecret
auth.jwt.hmac_previous_secret_file: set auth.hmacPrevious.value or auth.hmacPrevious.existingSecret
auth.jwt.public_key_file: set auth.publicKey.content or auth.publicKey.existingConfigMap
auth.jwt.jwks_file: set auth.jwks.content or auth.jwks.existingConfigMap
api.keys: set api.keys.values or api.keys.existingSecret
api.publish_keys: set api.publishKeys.values or api.publishKeys.existingSecret
api.read_keys: set api.readKeys.values or api.readKeys.existingSecret
webhook.url: set webhook.url.value or webhook.url.existingSecret
webhook.secret: set webhook.secret.value or webhook.secret.existingSecret
webhook.secret_file: set webhook.secret.value or webhook.secret.existingSecret
webhook.previous_secret: set webhook.previousSecret.value or webhook.previousSecret.existingSecret
webhook.previous_secret_file: set webhook.previousSecret.value or webhook.previousSecret.existingSecret
{{- end -}}

{{/*
The files that are no secrets, as a JSON list: `key` of the configuration, `path` below /etc/roomcast, the ConfigMap
`name` with the `item`, and `content`, where that is of the release.
*/}}
{{- define "roomcast.files" -}}
{{- $v := .Values -}}
{{- $found := list -}}
{{- range $f := list
  (dict "key" "policy" "path" "policy.toml" "from" $v.policy "at" "policy")
  (dict "key" "shadow_policy" "path" "shadow-policy.toml" "from" $v.shadowPolicy "at" "shadowPolicy")
  (dict "key" "auth.jwt.public_key_file" "path" "public-key.pem" "from" $v.auth.publicKey "at" "auth.publicKey")
  (dict "key" "auth.jwt.jwks_file" "path" "jwks.json" "from" $v.auth.jwks "at" "auth.jwks")
-}}
{{- $content := $f.from.content -}}
{{- $builtin := $f.from.builtin | default "" -}}
{{- $existing := $f.from.existingConfigMap -}}
{{- if gt (len (compact (list $content $builtin $existing.name))) 1 -}}
{{- fail (printf "%s: set only one of %s" $f.at (ternary "content, builtin and existingConfigMap.name" "content and existingConfigMap.name" (hasKey $f.from "builtin"))) -}}
{{- end -}}
{{- if and (eq $f.key "policy") (not (or $content $builtin $existing.name)) -}}
{{- $content = $.Files.Get "files/policy.toml" -}}
{{- end -}}
{{- if $existing.name -}}
{{- $found = append $found (dict "key" $f.key "path" $f.path "name" $existing.name "item" $existing.key) -}}
{{- else if $content -}}
{{- $found = append $found (dict "key" $f.key "path" $f.path "name" (include "roomcast.fullname" $) "item" $f.path "content" $content) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The node's whole configuration, as JSON: nothing in it can be read in two ways. */}}
{{- define "roomcast.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $flat := dict -}}
{{- include "roomcast.flatten" (dict "node" $config "path" "" "into" $flat) -}}
{{- range $key, $instead := fromYaml (include "roomcast.owned" .) -}}
{{- if hasKey $flat $key -}}
{{- fail (printf "config.%s is not taken from there: %s" $key $instead) -}}
{{- end -}}
{{- end -}}
{{- range $file := fromJsonArray (include "roomcast.files" .) -}}
{{- include "roomcast.set" (dict "tree" $config "path" $file.key "value" (printf "/etc/roomcast/%s" $file.path)) -}}
{{- end -}}
{{- range $key, $policy := dict "policy" .Values.policy "shadow_policy" .Values.shadowPolicy -}}
{{- if $policy.builtin -}}
{{- $_ := set $config $key (printf "builtin:%s" $policy.builtin) -}}
{{- end -}}
{{- end -}}
{{- range $secret := fromJsonArray (include "roomcast.secrets" .) -}}
{{- if eq $secret.as "file" -}}
{{- include "roomcast.set" (dict "tree" $config "path" $secret.key "value" (printf "/etc/roomcast/secrets/%s" $secret.id)) -}}
{{- end -}}
{{- end -}}
{{- range $section, $tls := dict "server" .Values.tls.public "ops" .Values.tls.ops -}}
{{- if $tls.existingSecret -}}
{{- include "roomcast.set" (dict "tree" $config "path" (printf "%s.tls_cert_file" $section) "value" (printf "/etc/roomcast/tls/%s/tls.crt" $section)) -}}
{{- include "roomcast.set" (dict "tree" $config "path" (printf "%s.tls_key_file" $section) "value" (printf "/etc/roomcast/tls/%s/tls.key" $section)) -}}
{{- end -}}
{{- end -}}
{{- toPrettyJson $config -}}
{{- end -}}

{{/*
Changes with what a running node does not take over: keys that are not live, and what is in its environment. Secrets
that are generated never change, and those of other Secrets are not known here.
*/}}
{{- define "roomcast.checksum" -}}
{{- $live := dict -}}
{{- range .Files.Lines "files/live-keys.txt" -}}
{{- $_ := set $live . true -}}
{{- end -}}
{{- $flat := dict -}}
{{- include "roomcast.flatten" (dict "node" (fromJson (include "roomcast.config" .)) "path" "" "into" $flat) -}}
{{- $counts := dict -}}
{{- range $key, $value := $flat -}}
{{- if not (hasKey $live $key) -}}
{{- $_ := set $counts $key $value -}}
{{- end -}}
{{- end -}}
{{- range $secret := fromJsonArray (include "roomcast.secrets" .) -}}
{{- if or (eq $secret.as "env") (not (hasKey $live $secret.key)) -}}
{{- $_ := set $counts (printf "secret %s" $secret.id) $secret.value -}}
{{- end -}}
{{- end -}}
{{- toJson $counts | sha256sum -}}
{{- end -}}

{{/* A value of the configuration by its path, or what it is without one. */}}
{{- define "roomcast.setting" -}}
{{- $flat := dict -}}
{{- include "roomcast.flatten" (dict "node" .root.Values.config "path" "" "into" $flat) -}}
{{- if hasKey $flat .key -}}
{{- $value := get $flat .key -}}
{{- if kindIs "slice" $value -}}{{- join "," $value -}}{{- else -}}{{- toString $value -}}{{- end -}}
{{- else -}}
{{- .default -}}
{{- end -}}
{{- end -}}
