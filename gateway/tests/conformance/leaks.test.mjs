// No secret in any output: that what is looked for after a run would be found.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { Child } from "./support/child.mjs";
import { LEAST, leaks } from "./support/leaks.mjs";
import { environment } from "./support/node.mjs";

const NOTHING = Object.fromEntries(Object.keys(LEAST).map((what) => [what, 0]));
const SECRETS = ["hunter2-hunter2", "eyJzdWIiOiJ1MSJ9", "pass/word\"1", "12345678"];

describe("leaks", () => {
  const folders = [];
  after(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

  function empty() {
    folders.push(mkdtempSync(join(tmpdir(), "roomcast-leaks-")));
    return folders.at(-1);
  }

  function said(text, name = "1-1-node.log") {
    const folder = empty();
    writeFileSync(join(folder, "1-secrets.list"), SECRETS.map((secret) => `${JSON.stringify(secret)}\n`).join(""));
    writeFileSync(join(folder, name), text);
    return leaks(folder, NOTHING).problems;
  }

  const clean = "a first line\nhunter2-hunter1 and eyJzdWIiOiJ1MSJ8\n1234567\n";

  for (const [where, text, line] of [
    ["alone", "hunter2-hunter2", 1],
    ["at the end of a line", `${clean}it is hunter2-hunter2\nnot here\n`, 4],
    ["inside of other words", `${clean}xxhunter2-hunter2xx\n`, 4],
    ["in a token", `${clean}{"token":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.x"}\n`, 4],
    ["as it is in a string", "pass/word\"1", 1],
    ["as short as one may be", "0123456789", 1],
    ["behind many bytes", `${"ä€".repeat(100_000)}\n${clean.repeat(1000)}12345678`, 3002],
  ]) {
    test(`a secret is found ${where}, and not repeated`, () => {
      const [problem, ...others] = said(text);
      assert.deepEqual(others, []);
      assert.match(problem, new RegExp(`1-1-node\\.log:${line}: a secret of \\d+ bytes: `));
      for (const secret of SECRETS) assert.ok(!problem.includes(secret), problem);
    });
  }

  test("a secret is found among answers, too", () => assert.equal(said(`/metrics x{user="12345678"}`, "1-answers.log").length, 1));

  test("what is like a secret is none", () => assert.deepEqual(said(clean), []));

  test("a run that left too little shows nothing", () => {
    assert.equal(leaks(empty()).problems.length, Object.keys(LEAST).length);
    const folder = empty();
    writeFileSync(join(folder, "1-1-node.log"), "x".repeat(LEAST.bytes));
    assert.match(leaks(folder).problems.join("\n"), /only 0 secrets/);
  });

  test("what children say and are given is kept, and so is what the API says", async () => {
    const folder = empty();
    const script = `
      import { createServer } from "node:http";
      import { Child } from "./support/child.mjs";
      import { Ops } from "./support/ops.mjs";
      import { keepSecretsOf } from "./support/output.mjs";
      import { token } from "./support/token.mjs";
      const given = token();
      const env = { ...process.env, ROOMCAST__AUTH__JWT__HMAC_SECRET: "from-the-environment", ROOMCAST__REDIS__URL: "redis://u:from-a-url@h" };
      const says = (text, args = []) => new Child("a child", process.execPath, ["-e", "process.stderr.write(process.argv[1])", text, ...args], { env }).exit;
      keepSecretsOf({ api: { keys: ["from-the-config"] } }, ".");
      await says("signed: " + given + "\\n");
      await says("no secret\\nfrom-the-environment\\nfrom-a-url\\nfrom-the-config\\nfrom-an-argument\\n", ["--api-key", "from-an-argument"]);
      const server = createServer((request, answer) => answer.writeHead(request.url === "/fine" ? 200 : 400).end("from-a-url"));
      await new Promise((done) => server.listen(0, "127.0.0.1", done));
      const ops = new Ops("http://127.0.0.1:" + server.address().port, "k");
      for (const path of ["/fine", "/metrics", "/stats", "/api/v1/publish"]) await ops.get(path);
      server.closeAllConnections();
      server.close();
    `;
    const env = { ...environment(), ROOMCAST_TEST_OUTPUT: folder };
    const run = new Child("a run", process.execPath, ["--input-type=module", "-e", script], { cwd: import.meta.dirname, env });
    assert.equal((await run.exit).code, 0, run.output);
    const { problems, seen } = leaks(folder, NOTHING);
    assert.deepEqual({ logs: seen.logs, answers: seen.answers }, { logs: 2, answers: 3 }, problems.join("\n"));
    assert.equal(problems.length, 1 + 4 + 3, problems.join("\n"));
    const files = readdirSync(folder).filter((name) => name.endsWith(".log"));
    assert.equal(files.length, 3);
    assert.match(readFileSync(join(folder, files.find((name) => name.includes("answers"))), "utf8"), /^\/stats 400/m);
  });
});
