interface Asked<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Calls `work` for one item, in one go with all that were asked for in the same tick, or while the call before was
 * under way; at most `atOnce`, in order, and one call at a time. `work` resolves with a result for each item. Each
 * waits, and fails, with its whole batch.
 */
export function makeBatch<Item, Result>(
  work: (items: readonly Item[]) => Promise<readonly Result[]>,
  atOnce: number,
): (item: Item) => Promise<Result> {
  const asked: Asked<Item, Result>[] = [];
  let working = false;

  const runOne = async (batch: readonly Asked<Item, Result>[]): Promise<void> => {
    try {
      const results = await work(batch.map(({ item }) => item));
      for (const [index, result] of results.entries()) batch[index]?.resolve(result);
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  };
  const run = async (): Promise<void> => {
    working = true;
    await Promise.resolve(); // The rest of this tick may ask for more.
    while (asked.length > 0) await runOne(asked.splice(0, atOnce));
    working = false;
  };

  return (item) => {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    asked.push({ item, resolve, reject });
    if (!working) void run();
    return promise;
  };
}
