import { describeWith } from "../helpers/peers.ts";
import { describeMatrix } from "./matrix.contract.ts";

describeWith("autobahn", "the way through our router", () => describeMatrix("ours"));
