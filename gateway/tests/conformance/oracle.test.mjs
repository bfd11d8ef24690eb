// Random clients on two nodes, judged by a model of who may see what: nobody gets too much, and nobody too little. The
// seed is printed; `ROOMCAST_SEED` repeats it. `long/oracle.test.mjs` is the long form.

import { describe } from "node:test";
import { judged } from "./support/judged.mjs";

describe("oracle, 40 clients for 8 seconds", () => judged({ clients: 40, seconds: 8, rest: 200 }));
