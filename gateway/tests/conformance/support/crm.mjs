// The example of the CRM as its backends and browsers know it: tenants, the events in use, the feed, who types.

import assert from "node:assert/strict";

/** The channel on which backends publish `{type, tenantId, data}`. */
export const FEED = "waba.agent-portal.events";

/** What the gateway itself may send with the policy of the CRM. Everything else must come from a backend. */
export const OWN_EVENTS = ["pong", "typing:indicator", "subscribe:error", "limit:exceeded", "auth:expiring"];

/** One tenant with one of each: what its users' tokens hold, and every room that is its own. */
export function tenant(side) {
  const ids = { user: `user-${side}`, account: `acc-${side}`, tenant: `t-${side}`, bot: `b-${side}` };
  const asked = { whatsapp: `w-${side}`, campaign: `c-${side}`, contact: `k-${side}` };
  return {
    side,
    ids,
    asked,
    claims: {
      sub: ids.user, account_id: ids.account, tenant_id: ids.tenant, bots: [ids.bot],
      whatsapp_accounts: [asked.whatsapp], campaigns: [asked.campaign], contacts: [asked.contact],
    },
    query: { botId: ids.bot },
    automatic: [`user:${ids.user}`, `user:${ids.account}`, `tenant:${ids.tenant}`, `user:${ids.user}:bot:${ids.bot}`],
    onRequest: Object.entries(asked).map(([kind, id]) => `${kind}:${id}`),
  };
}

/** Events by family, each with the kind of room it is for and the JSON text of a payload as backends send it. */
export const FAMILIES = {
  account: ["user", {
    "whatsapp:qr:generated": '{"accountId":"w-a","qr":"2@Zm9v/YmFy+==,\\u003d","expiresIn":60.0}',
    "whatsapp:ready": '{"accountId":"w-a","phoneNumber":"+4915112345678"}',
    "whatsapp:connection:status": '{"accountId":"w-a","status":"Reconnecting","attempt":3,"since":1785000000123456789}',
    "whatsapp:disconnected": '{"accountId":"w-a","reason":null}',
    whatsapp_connection_event:
      '{"type":"connected","botId":"b-a","userId":"user-a","phoneNumber":"+49151","displayName":"Änne \\"42\\"","timestamp":"2026-01-01T00:00:00Z"}',
    "whatsapp-connected": '{"botId":"b-a"}',
    "whatsapp-disconnected": '{"botId":"b-a"}',
    phone_status_changed:
      '{"phoneNumberId":109876543210987654321,"isActive":true,"qualityRating":"GREEN","displayPhoneNumber":"+49 151",'
      + '"lastTestedAt":null,"verifiedName":"Acme","status":"ACTIVE","timestamp":"2026-01-01T00:00:00.000Z"}',
  }],
  messages: ["whatsapp", {
    "message:status:update": '{"id":"wamid.HBgN","status":"read","at":1785000000.123456789}',
    "message:received": '{"id":18446744073709551616,"from":"49151","text":"hi \\ud83d\\ude00"}',
    "message:sent": '{"id":"1"}',
    "message:delivered": '{"id":"1","to":[]}',
    "message:read": '{"id":"1","nested":{"a":[1,[2,{"b":null}]]}}',
    "message:failed": '{"id":"1","error":{"code":131047,"title":"Re-engagement message"}}',
  }],
  campaigns: ["campaign", {
    "campaign:started": '{"campaignId":"c-a"}',
    "campaign:progress": '{"campaignId":"c-a","sent":99999999999999999999,"share":0.10}',
    "campaign:completed": '{"campaignId":"c-a","totals":{}}',
    "campaign:paused": '{"campaignId":"c-a"}',
    "campaign:resumed": '{"campaignId":"c-a"}',
    "campaign:failed": '{"campaignId":"c-a","reason":""}',
  }],
  contacts: ["contact", {
    "contact:created": '{"id":"k-a","custom":{"z":1,"a":2}}',
    "contact:updated": '{"id":"k-a","changes":["name"]}',
    "contact:deleted": '"k-a"',
  }],
  flows: ["tenant", {
    "flow:execution:started": '{"executionId":"e-1","input":{"_id":{"$oid":"65a"}}}',
    "flow:execution:completed": '{"executionId":"e-1","output":[true,false]}',
    "flow:execution:failed": '{"executionId":"e-1","error":1E400}',
  }],
  system: ["system", {
    "system:notification": '{"level":"info","text":"Maintenance at 22:00"}',
  }],
  team: ["tenant", {
    "team:activity": '{"userId":"user-a","action":"login"}',
  }],
};

/** The types of the tenants' feed. */
export const FEED_TYPES = ["new_message", "conversation_update", "status_update", "metrics_update"];

/** What others see of somebody who types, and nothing besides. Returns its time in milliseconds. */
export function assertIndicator(args, expected) {
  assert.equal(args.length, 1);
  const { timestamp, ...rest } = args[0];
  assert.deepEqual(rest, expected);
  assert.match(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  return Date.parse(timestamp);
}
