// The sample rule's command: what a documentation builder does, as small as it can be. It reads the
// payload that Onionhook left for it and writes one page into the current folder.
import { readFileSync, writeFileSync } from "node:fs";

const push = JSON.parse(readFileSync(process.env.ONIONHOOK_PAYLOAD, "utf8"));
const escape = (text) => String(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
const commits = (push.commits ?? []).map(
  ({ id, message }) => `<li><code>${escape(id).slice(0, 8)}</code> ${escape(message)}</li>`,
);

writeFileSync(
  "index.html",
  `<!doctype html>
<meta charset="utf-8">
<title>${escape(push.repository?.full_name)}</title>
<h1>${escape(push.repository?.full_name)}</h1>
<p>Built from <code>${escape(push.ref)}</code> at <code>${escape(push.after)}</code>.</p>
<ul>${commits.join("")}</ul>
`,
);
console.log("wrote index.html");
