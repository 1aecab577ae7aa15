import { describeWith } from "../helpers/peers.ts";
import { describeMatrix } from "./matrix.contract.ts";

describeWith("crossbar", "the way through Crossbar.io", () => describeMatrix("crossbar"));
