/** The object's one alarm, armed for whatever is due first. */
export class Alarm {
  readonly #storage: DurableObjectStorage;
  #at: number | undefined;

  private constructor(storage: DurableObjectStorage, at: number | undefined) {
    this.#storage = storage;
    this.#at = at;
  }

  /** One whose time has passed counts as none: it may have been used up by a handler that failed. */
  static async of(storage: DurableObjectStorage): Promise<Alarm> {
    const at = await storage.getAlarm();
    return new Alarm(storage, at !== null && at > Date.now() ? at : undefined);
  }

  get isArmed(): boolean {
    return this.#at !== undefined;
  }

  /** Rings at `at` (ms since 1970), or before: every time that it is set costs a row written. */
  arm(at: number | undefined): void {
    if (at === undefined || (this.#at !== undefined && this.#at <= at)) return;
    this.#at = at;
    // The next call of `arm` tries again; and so does the object's constructor.
    this.#storage.setAlarm(at).catch(() => (this.#at = undefined));
  }

  /** It rang, and is used up. */
  rang(): void {
    this.#at = undefined;
  }
}
