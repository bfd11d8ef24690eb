//! What Prometheus is told about each metric.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Describes every metric of the gateway on the recorder that is in force.
pub(super) fn describe() {
    describe_gauge!("roomcast_build_info", "Version of the running gateway; always 1.");
    describe_gauge!(
        "roomcast_connections",
        "Sockets connected to this node, by transport."
    );
    describe_gauge!(
        "roomcast_users",
        "Different users with at least one socket on this node."
    );
    describe_gauge!("roomcast_rooms", "Rooms with at least one socket on this node.");
    describe_gauge!(
        "roomcast_nodes",
        "Nodes that this one knows to live, itself included; 1 while its link to Redis is down."
    );
    describe_counter!(
        "roomcast_handshakes_total",
        "Handshakes by outcome: accepted, a refusal's code, or refused at the HTTP level."
    );
    describe_histogram!(
        "roomcast_handshake_duration_seconds",
        Unit::Seconds,
        "From a CONNECT packet to its decision; HTTP and network are not counted."
    );
    describe_counter!("roomcast_disconnects_total", "Sockets that went away, by reason.");
    describe_counter!(
        "roomcast_auth_refreshes_total",
        "Tokens that connected clients showed in place of theirs, by outcome: refreshed, or a refusal's code. Those that could not even wait are only dropped."
    );
    describe_counter!(
        "roomcast_auth_expired_total",
        "Sockets that were sent away because their token had expired."
    );
    describe_counter!("roomcast_events_in_total", "Events that clients sent.");
    describe_counter!(
        "roomcast_events_out_total",
        "Events queued for sockets, one for each recipient."
    );
    describe_counter!(
        "roomcast_bytes_out_total",
        Unit::Bytes,
        "Bytes of these events, without framing."
    );
    describe_histogram!(
        "roomcast_delivery_latency_seconds",
        Unit::Seconds,
        "From a publication's entry into the cluster to the queues of this node's sockets; once for each publication."
    );
    describe_counter!(
        "roomcast_policy_condition_failures_total",
        "Conditions of the policy that could not be evaluated (a claim is missing, types do not fit); each meant no."
    );
    describe_counter!(
        "roomcast_policy_shadow_total",
        "Decisions of the shadow policy, and whether it would have decided as the policy in force did."
    );
    describe_counter!(
        "roomcast_reload_total",
        "Configurations that were read again by signal or because a file has another content, by outcome."
    );
    describe_gauge!(
        "roomcast_reload_last_success_timestamp_seconds",
        "When a configuration without mistakes was read last, in seconds since 1970; at first, when the node started."
    );
    describe_counter!(
        "roomcast_jwks_fetches_total",
        "Fetches of key sets of identity providers, by outcome."
    );
    describe_gauge!(
        "roomcast_jwks_keys",
        "Keys in the fetched key sets that can verify tokens; those of files are not counted."
    );
    describe_gauge!(
        "roomcast_jwks_last_success_timestamp_seconds",
        "When the key set was fetched last, in seconds since 1970; of several the one for which that is longest ago, and 0 while one is missing."
    );
    describe_counter!(
        "roomcast_gaps_total",
        "Gaps after which events may be missing: in all rooms at once, or in single rooms with sockets here."
    );
    describe_counter!(
        "roomcast_limited_total",
        "Sessions turned away, sockets sent away or refused, and events refused, by the limit that was hit."
    );
    // roomcast_dropped_total is described by adapter-redis, which counts most of its reasons.
    describe_gauge!(
        "roomcast_amqp_connected",
        "1 while this node consumes every queue of RabbitMQ that the policy names, else 0; 0 without such queues."
    );
    describe_gauge!("roomcast_draining", "1 while this node is being stopped.");
}
