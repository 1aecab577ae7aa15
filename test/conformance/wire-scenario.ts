/** What scenarios on the wire are given: messages sent and read one by one, which no library would send, or tell of. */
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import type { RawClient } from "../router/raw-client.ts";
import type { Authid, TestRouter } from "./routers.ts";

export interface WireWorld {
  readonly router: TestRouter;
  readonly serializer: SerializerId;
  dial(): Promise<RawClient>;
  join(authid?: Authid, roles?: object): Promise<RawClient>;
  uri(tail: string): string;
}

export interface WireScenario {
  readonly title: string;
  readonly run: (world: WireWorld) => Promise<void>;
  readonly except?: Partial<Record<TestRouter["name"], string>>;
}

/** What a session that can do everything says of itself; autobahn-js leaves out what is named here. */
export const ABLE = {
  publisher: { features: {} },
  subscriber: { features: {} },
  caller: { features: { call_canceling: true, progressive_call_results: true } },
  callee: { features: { call_canceling: true, progressive_call_results: true } },
};
