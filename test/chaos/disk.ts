/** A small file system of its own for a folder, which can be made full. Linux, root. */
import { execFileSync } from "node:child_process";
import { mkdirSync, statfsSync } from "node:fs";

export interface SmallDisk {
  /** Leaves no room for one more block: what writes gets ENOSPC. */
  fill(): void;
  /** The room is there again. */
  free(): void;
  unmount(): void;
}

/** Bytes. The embedded queue takes 100 MB and the log of what goes through it. */
const ROOMY = 2 ** 30;
/** Its users may take a block between our look and the change. */
const TRIES = 50;

/** Undefined where mounting is refused. @param folder is made when it is missing. */
export function mountDisk(folder: string): SmallDisk | undefined {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  try {
    mount("-t", "tmpfs", "-o", `mode=0700,size=${ROOMY}`, "tmpfs", folder);
  } catch {
    return undefined;
  }
  const resize = (bytes: number) => mount("-o", `remount,size=${bytes}`, folder);
  return {
    fill() {
      for (let tries = 1; ; tries += 1) {
        const { blocks, bfree, bsize } = statfsSync(folder);
        try {
          return resize((blocks - bfree) * bsize);
        } catch (error) {
          if (tries >= TRIES) throw error;
        }
      }
    },
    free: () => resize(ROOMY),
    // Lazily: a process that is just ending may still hold a file.
    unmount: () => void execFileSync("umount", ["--lazy", folder], { stdio: "ignore" }),
  };
}

function mount(...args: string[]): void {
  execFileSync("mount", args, { stdio: "ignore" });
}
