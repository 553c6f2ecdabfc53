// Servers to look at, and a browser to look with.

import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import assert from "node:assert/strict";

const modules = process.env.BROWSER_MODULES;
const require = createRequire(join(modules, "package.json"));
const { chromium } = require("playwright-core");
const axe = require("axe-core");

const screenshots = join(modules, "screenshots");
mkdirSync(screenshots, { recursive: true });

// Only a test that fails waits so long.
export const TIMEOUT = 60_000;

/** Starts an example, and waits for its address. */
export async function serve(example, ...flags) {
  const process_ = spawn(join(process.env.EXAMPLES, example), flags, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const url = await new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk;
      const found = output.match(/Listening on (http:\/\/127\.0\.0\.1:\d+)/);
      if (found) resolve(found[1]);
    };
    process_.stdout.on("data", read);
    process_.stderr.on("data", read);
    process_.on("exit", (code) => reject(new Error(`${example} ended with ${code}: ${output}`)));
    process_.on("error", reject);
  });
  return {
    url,
    output: () => output,
    control: async (action, name) => {
      const path = `${url}/control/${action}/${encodeURIComponent(name)}`;
      const response = await fetch(path, { method: "POST" });
      assert.equal(response.status, 204, path);
    },
    stop: () => process_.kill("SIGKILL"),
  };
}

export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });

/** Opens the page of a server. The errors in `mistakes` should stay empty. */
export async function open(browser, url, { token } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB" });
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT);
  page.mistakes = [];
  page.requested = [];
  page.on("pageerror", (error) => page.mistakes.push(String(error)));
  page.on("console", (message) => {
    // A browser logs every answer of 400 and more, and every lost connection.
    const isAnswer = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !isAnswer) page.mistakes.push(message.text());
  });
  page.on("request", (request) => page.requested.push(`${request.method()} ${request.url()}`));
  await page.goto(`${url}/v1/operator/ui`);
  if (token) await enter(page, token);
  return page;
}

export async function enter(page, token) {
  await page.getByRole("textbox", { name: "Token" }).fill(token);
  await page.getByRole("button", { name: "Use" }).click();
}

/** Waits until an element has this text. */
export async function shows(locator, text) {
  const found = locator.filter({ hasText: text }).first();
  await found.waitFor({ state: "visible", timeout: TIMEOUT });
}

/** Takes pictures of a state, and looks for violations of accessibility rules in it. */
export async function look(page, name) {
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    for (const [width, height] of [[360, 740], [1600, 1000]]) {
      await page.setViewportSize({ width, height });
      const picture = `${name}-${scheme}-${width}`;
      // A dialog is centred in what is visible.
      const fullPage = (await page.locator("dialog[open]").count()) === 0;
      await page.screenshot({ path: join(screenshots, `${picture}.png`), fullPage });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${picture} is ${overflow} px too wide`);
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate(() => axe.run());
      const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
      assert.deepEqual(told, [], picture);
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1280, height: 900 });
}
