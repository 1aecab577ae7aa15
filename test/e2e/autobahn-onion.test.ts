/** test/peers/autobahn-builder.py knows no Tor: it must not ask the DNS for an onion service. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { describeWith, ROOT } from "../helpers/peers.ts";

describeWith("autobahn", "test/peers/autobahn-builder.py", (python) => {
  it.each(["ws://abc.onion/", "ws://ABC.Onion.:80/ws"])("refuses %s", (url) => {
    const script = join(ROOT, "test/peers/autobahn-builder.py");
    const { status, stderr } = spawnSync(python, [script, "/dev/null", url, "json"], { encoding: "utf8" });
    expect(status).toBe(1);
    expect(stderr).toContain("this example does not go through Tor: original-builder.py does");
  });
});
