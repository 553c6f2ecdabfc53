// What the status page shows of the main example.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { enter, launch, look, open, serve, shows } from "./browser.mjs";

let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

async function withServer(flags, body) {
  const server = await serve("server", "--address", "127.0.0.1:0", ...flags);
  try {
    await body(server);
  } finally {
    server.stop();
  }
}

const headline = (page) => page.locator("#headline");

test("real cluster is listed with its rings", () => withServer([], async (server) => {
  const page = await open(browser, server.url);
  const keys = [];
  page.on("response", async (response) => {
    const text = await response.text().catch(() => "");
    if (/"[A-Za-z0-9+/]{22}=="/.test(text)) keys.push(response.url());
  });
  await shows(headline(page), "Everything works");
  const section = page.getByRole("region", { name: "Datacenter dc1" });
  await shows(section.locator("p"), /One more server may fail: 3 of 3 voters are up and 2 are needed/);
  assert.equal(await section.getByRole("row").count(), 4);
  assert.equal(await section.locator("tbody .badge.leader").count(), 1);
  assert.equal(await section.locator("tbody .badge.healthy").count(), 3);
  await shows(section.locator(".ring"), "LAN ring");
  await shows(section.locator(".key"), /on 3 of 3 nodes, primary on 3/);
  await shows(page.getByRole("region", { name: "WAN ring" }).locator(".key"), "on 3 of 3 nodes");
  await look(page, "list");
  assert.deepEqual(page.mistakes, []);
  assert.deepEqual(keys, [], "a response holds a key");
  const elsewhere = page.requested.filter((it) => !it.includes(server.url) && !it.includes(" data:"));
  assert.deepEqual(elsewhere, []);
  assert.ok(server.output().includes(`Status page: ${server.url}/v1/operator/ui`));
  await page.context().close();
}));

test("denied token shows nothing of the cluster", () => withServer(["--mock", "--acl", "on"], async (server) => {
  const page = await open(browser, server.url);
  await shows(headline(page), "A token is needed");
  await enter(page, "wrong");
  await shows(headline(page), "The token is denied");
  await shows(page.getByRole("alert"), "operator:read and keyring:read");
  assert.equal(await page.getByRole("table").count(), 0);
  await look(page, "denied");

  await page.getByRole("button", { name: "Forget it" }).click();
  await enter(page, "viewer");
  await shows(headline(page), "Everything works");
  // A denial is final until the user does something: what was shown is gone.
  await page.getByRole("button", { name: "Forget it" }).click();
  await shows(headline(page), "A token is needed");
  assert.equal(await page.getByRole("table").count(), 0);
  assert.deepEqual(page.mistakes, []);
  await page.context().close();
}));

test("token stays in memory and in its header", () => withServer(["--mock", "--acl", "on"], async (server) => {
  const page = await open(browser, server.url, { token: "viewer" });
  await shows(headline(page), "Everything works");
  assert.ok(page.requested.every((it) => !it.includes("viewer")), "in an address");
  const kept = await page.evaluate(() => [
    document.documentElement.outerHTML, document.querySelector("#token").value, document.cookie,
    JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }), String(location),
  ]);
  assert.ok(kept.every((it) => !it.includes("viewer")), "in the document or the browser");
  await page.reload();
  await shows(headline(page), "A token is needed");
  await page.context().close();
}));

test("removal shows the plan and asks for the name", () => withServer(["--mock", "--acl", "on"], async (server) => {
  const page = await open(browser, server.url, { token: "root" });
  const dialog = page.getByRole("dialog", { name: "Remove carol from dc1" });
  const button = page.getByRole("button", { name: "Remove carol …" });
  await button.click();
  await shows(dialog.locator(".notice"), "keeps its quorum and tolerates fewer failures");
  await shows(dialog.getByRole("row"), /May fail\s*1\s*0/);
  const confirm = dialog.getByRole("button", { name: "Remove the server" });
  const name = dialog.getByLabel("Type carol to confirm");
  for (const text of ["", "caro", "Carol", "carol "]) {
    await name.fill(text);
    assert.ok(await confirm.isDisabled(), text);
    await name.press("Enter");
  }
  await name.fill("carol");
  assert.ok(await confirm.isEnabled());
  await look(page, "plan");

  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  assert.ok(await button.evaluate((it) => it === document.activeElement), "the focus is back");
  assert.ok(page.requested.every((it) => it.startsWith("GET ")), "nothing was changed");

  await button.click();
  await name.fill("carol");
  await confirm.click();
  await shows(page.getByRole("status"), "carol of dc1 has been removed.");
  await button.waitFor({ state: "detached" });
  const writes = page.requested.filter((it) => !it.startsWith("GET "));
  assert.equal(writes.length, 1);
  assert.match(writes[0], /^POST .*\/raft\/planned-removal\?id=[^&]*&version=\d+-\d+&dc=dc1$/);
  await look(page, "removed");
  assert.deepEqual(page.mistakes, []);
  await page.context().close();
}));

test("removal that is denied says so in the dialog", () => withServer(["--mock", "--acl", "on"], async (server) => {
  const page = await open(browser, server.url, { token: "viewer" });
  await page.getByRole("button", { name: "Remove carol …" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Type carol to confirm").fill("carol");
  await dialog.getByRole("button", { name: "Remove the server" }).click();
  await shows(dialog.getByRole("alert"), /permission denied/i);
  await look(page, "removal-denied");
  assert.deepEqual(page.mistakes, []);
  await page.context().close();
}));
