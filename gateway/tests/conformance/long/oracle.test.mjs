// The long form of `oracle.test.mjs`: 200 random clients for a minute. For `./test long`.

import { describe } from "node:test";
import { judged } from "../support/judged.mjs";

const SECONDS = Number(process.env.ROOMCAST_ORACLE_SECONDS ?? 60);

describe(`oracle, 200 clients for ${SECONDS} seconds`, () => judged({ clients: 200, seconds: SECONDS, rest: 1500 }));
