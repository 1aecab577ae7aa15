import { rmSync } from "node:fs";

/** Removes what libfaketime leaves in shared memory, by pid, when its process is killed. */
export function sweepClocks(pids: Iterable<number>): void {
  for (const pid of pids) {
    for (const name of [`faketime_shm_${pid}`, `sem.faketime_sem_${pid}`]) {
      rmSync(`/dev/shm/${name}`, { force: true });
    }
  }
}
