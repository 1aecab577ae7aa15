import type { Env as EdgeEnv } from "../../worker/main.ts";

declare global {
  namespace Cloudflare {
    interface Env extends EdgeEnv {}
    interface GlobalProps {
      mainModule: typeof import("../../worker/main.ts");
    }
  }
}
