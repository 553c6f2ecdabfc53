// What the status page shows of a simulated federation in trouble.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { launch, look, open, serve, shows, TIMEOUT } from "./browser.mjs";

let browser, server, page;
before(async () => { browser = await launch(); });
after(() => browser.close());
beforeEach(async () => { server = await serve("ui_simulated"); });
afterEach(async () => {
  await page?.context().close();
  server.stop();
});

const headline = () => page.locator("#headline");
const datacenter = (name) => page.getByRole("region", { name: `Datacenter ${name}` });
const refresh = () => page.getByRole("button", { name: "Refresh" }).click();

async function enterAs(token = "root", prefix = "") {
  page = await open(browser, server.url + prefix, { token });
}

test("lost leader is named, and nothing can be removed", async () => {
  await server.control("stop", "bob");
  await server.control("stop", "carol");
  await enterAs();
  await shows(headline(), "Needs attention");
  await shows(datacenter("berlin").locator("p"), /No server leads. The quorum is lost: 1 of 3 voters is up and 2 are needed/);
  await shows(datacenter("berlin").locator("tbody .badge"), "✖ Failed");
  assert.equal(await datacenter("berlin").getByRole("button").count(), 0);
  await shows(datacenter("lima").locator("p"), "The leader is dave");
  await look(page, "lost-leader");
  await server.control("restart", "bob");
  await shows(datacenter("berlin").locator("p"), /The leader is (alice|bob)\. No more server may fail/);
  assert.deepEqual(page.mistakes, []);
});

test("dead datacenter says so and the rest stays", async () => {
  await enterAs();
  await shows(headline(), "Everything works");
  await server.control("stop-datacenter", "lima");
  await shows(datacenter("lima").locator(".notice"), "This datacenter could not be asked");
  await shows(datacenter("lima").locator(".notice"), "This ring could not be asked");
  await shows(datacenter("berlin").locator("p"), "One more server may fail");
  assert.equal(await datacenter("berlin").getByRole("row").count(), 5);
  await look(page, "dead-datacenter");
  await server.control("restart-datacenter", "lima");
  await shows(headline(), "Everything works");
  assert.deepEqual(page.mistakes, []);
});

test("failed voter is a finding with a next step", async () => {
  await server.control("stop", "carol");
  await enterAs();
  const findings = page.getByRole("list", { name: "Findings" });
  await shows(findings.getByRole("listitem"), /voter carol at .* has failed.*To do: start it/s);
  await shows(datacenter("berlin").locator("p"), "No more server may fail");
  await look(page, "findings");

  // With carol down, the guard rejects the removal of a voter that is up.
  await page.getByRole("button", { name: "Remove bob …" }).click();
  const dialog = page.getByRole("dialog");
  await shows(dialog.locator(".notice"), "The cluster would lose its quorum");
  await shows(dialog.getByRole("status"), "The quorum guard (quorum) rejects this removal");
  assert.equal(await dialog.getByRole("textbox").count(), 0);
  await look(page, "plan-rejected");
  assert.deepEqual(page.mistakes, []);
});

test("keys that differ have bars of their own", async () => {
  const headers = { "X-Consul-Token": "root" };
  const change = async (method) => {
    const body = JSON.stringify({ Key: "z90lFx3sZZLtTOkutXcwYg==" });
    await fetch(`${server.url}/v1/operator/keyring`, { method, headers, body });
  };
  await server.control("stop", "bob");
  await change("POST");
  await server.control("restart", "bob");
  await enterAs();
  const keys = datacenter("berlin").getByRole("list", { name: "Keys of the LAN ring" });
  await shows(keys.getByRole("listitem"), "on 3 of 4 nodes");
  await shows(keys.getByRole("listitem"), "on 4 of 4 nodes, primary on 4");
  const widths = await keys.locator("rect.has").evaluateAll((all) => all.map((it) => it.getAttribute("width")));
  assert.deepEqual(widths.sort(), ["100%", "75%"]);
  await look(page, "keys");
});

test("removal is rejected if the configuration has changed", async () => {
  await enterAs();
  await page.getByRole("button", { name: "Remove carol …" }).click();
  const dialog = page.getByRole("dialog");
  const name = dialog.getByLabel("Type carol to confirm");
  await name.fill("carol");
  const other = await fetch(`${server.url}/v1/operator/raft/peer?address=127.0.0.4:8300`, {
    method: "DELETE", headers: { "X-Consul-Token": "root" },
  });
  assert.equal(other.status, 200);
  await dialog.getByRole("button", { name: "Remove the server" }).click();
  await shows(dialog.getByRole("alert"), /configuration/);
  await look(page, "plan-outdated");
  await dialog.getByRole("button", { name: "Plan again" }).click();
  await name.fill("carol");
  await dialog.getByRole("button", { name: "Remove the server" }).click();
  await shows(page.getByRole("status"), "carol of berlin has been removed.");
});

test("failed removal is told after its dialog is closed", async () => {
  await enterAs();
  await page.getByRole("button", { name: "Remove carol …" }).click();
  const dialog = page.getByRole("dialog");
  let fail;
  const closed = new Promise((resolve) => { fail = resolve; });
  await page.route("**/planned-removal?*", async (route) => {
    await closed;
    await route.abort();
  });
  await dialog.getByLabel("Type carol to confirm").fill("carol");
  await dialog.getByRole("button", { name: "Remove the server" }).click();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  fail();
  const failure = "The removal of carol of berlin failed. The server cannot be reached. The server may have been removed";
  await shows(page.getByRole("status"), failure);
  await refresh();
  await page.waitForResponse((response) => response.url().endsWith("/diagnosis"));
  await shows(page.getByRole("status"), failure);
});

test("token that no header can hold is refused", async () => {
  page = await open(browser, server.url, { token: "gedöns" });
  await shows(page.getByRole("status"), "The token has characters that no token has");
  assert.ok(await page.getByRole("textbox", { name: "Token" }).isVisible());
});

test("server of another datacenter is removed there", async () => {
  await enterAs();
  await page.getByRole("button", { name: "Remove grace …" }).click();
  const dialog = page.getByRole("dialog", { name: "Remove grace from lima" });
  await dialog.getByLabel("Type grace to confirm").fill("grace");
  await dialog.getByRole("button", { name: "Remove the server" }).click();
  await shows(page.getByRole("status"), "grace of lima has been removed.");
  await page.getByRole("button", { name: "Remove grace …" }).waitFor({ state: "detached" });
  assert.equal(await datacenter("berlin").getByRole("row").count(), 5);
});

test("last state stays while the server is lost", async () => {
  await enterAs();
  await shows(headline(), "Everything works");
  await page.route("**/diagnosis", (route) => route.abort());
  await refresh();
  await shows(headline(), "No new state since");
  await shows(page.getByRole("alert"), "The server cannot be reached. What is shown below may be out of date.");
  assert.equal(await datacenter("berlin").getByRole("row").count(), 5);
  await look(page, "server-lost");
  await page.unroute("**/diagnosis");
  await page.locator("#trouble:empty").waitFor({ state: "attached", timeout: TIMEOUT });
  await shows(headline(), "Everything works");
});

test("polls back off and pause while the page is hidden", async () => {
  await enterAs();
  await shows(headline(), "Everything works");
  await page.clock.install();
  await page.route("**/diagnosis", (route) => route.abort());
  const polls = () => page.requested.filter((it) => it.endsWith("/diagnosis")).length;
  await refresh();
  for (const wait of [5, 10, 20, 40, 60, 60]) {
    await shows(page.locator("#updated"), `about ${wait} s`);
    const seen = polls();
    await page.clock.runFor(wait * 1200 + 100);
    const deadline = Date.now() + TIMEOUT;
    // Each question to the page lets its requests arrive here.
    while (polls() === seen && Date.now() < deadline) await page.title();
    assert.equal(polls(), seen + 1, `after ${wait} s`);
  }
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await page.unroute("**/diagnosis");
  await hide(true);
  const before = polls();
  await page.clock.runFor(10 * 60_000);
  assert.equal(polls(), before, "it polls while it is hidden");
  await hide(false);
  await page.locator("#trouble:empty").waitFor({ state: "attached", timeout: TIMEOUT });
  assert.equal(polls(), before + 1);
});

test("names are shown as text", async () => {
  await enterAs();
  await shows(datacenter("lima").getByRole("rowheader"), "<b>frank</b>");
  assert.equal(await page.locator("main b").count(), 0);
  await page.getByRole("button", { name: "Remove <b>frank</b> …" }).click();
  await shows(page.getByRole("dialog").getByRole("heading"), "Remove <b>frank</b> from lima");
  await page.getByLabel("Type <b>frank</b> to confirm").waitFor();
  assert.equal(await page.locator("b").count(), 0);
});

test("policy forbids inline script and other origins", async () => {
  await enterAs();
  const refused = await page.evaluate(async () => {
    const tried = { markup: false, fetch: false, run: false };
    try { document.body.innerHTML = "<p>"; } catch { tried.markup = true; }
    try { await fetch("http://127.0.0.2:1/"); } catch { tried.fetch = true; }
    const script = document.createElement("script");
    try { script.textContent = "window.ran = true"; document.body.append(script); } catch { /* refused */ }
    tried.run = window.ran === undefined;
    return tried;
  });
  assert.deepEqual(refused, { markup: true, fetch: true, run: true });
  assert.ok(page.mistakes.some((it) => it.includes("Content Security Policy")));
});

test("read-only listener offers no removal, below any prefix", async () => {
  await enterAs("root", "/read-only");
  await shows(headline(), "Everything works");
  assert.ok(page.requested.some((it) => it.endsWith("/read-only/v1/operator/diagnosis")));
  assert.equal(await page.getByRole("button", { name: /Remove/ }).count(), 0);
  await look(page, "read-only");
});

test("token for Raft alone is denied", async () => {
  await enterAs("operator");
  await shows(headline(), "The token is denied");
  await shows(page.getByRole("alert"), /keyring/);
});

test("everything works by keyboard, and polls keep the focus", async () => {
  page = await open(browser, server.url);
  await shows(headline(), "A token is needed");
  const focused = () => page.evaluate(() => document.activeElement.textContent || document.activeElement.id);
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the status");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "token");
  await page.keyboard.type("root");
  await page.keyboard.press("Enter");
  await shows(headline(), "Everything works");
  const button = page.getByRole("button", { name: "Remove bob …" });
  for (let at = 0; at < 20 && !(await button.evaluate((it) => it === document.activeElement)); at += 1) {
    await page.keyboard.press("Tab");
  }
  // A poll that changes the row of the button, and rows around it.
  await server.control("stop", "carol");
  await shows(datacenter("berlin").locator("tbody .badge"), "✖ Failed");
  assert.ok(await button.evaluate((it) => it === document.activeElement), "the focus stays");
  await server.control("restart", "carol");
  await shows(headline(), "Everything works");
  await page.keyboard.press("Enter");
  await page.getByLabel("Type bob to confirm").waitFor();
  for (let at = 0; at < 5 && (await focused()) !== "removal-name"; at += 1) await page.keyboard.press("Tab");
  await page.keyboard.type("bob");
  await page.keyboard.press("Enter");
  await shows(page.getByRole("status"), "bob of berlin has been removed.");
  assert.equal(await focused(), "Datacenter berlin");
});
