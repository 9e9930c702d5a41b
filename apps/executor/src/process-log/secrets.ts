import { createRedactor, type Redactor } from '@kiln/redaction';

/** Every secret this process holds at the moment, so that its own log and messages can be cleaned of them. */
export interface SecretRegister {
  /** From now until disposed: `value -> replacement`. */
  add(secrets: ReadonlyMap<string, string>): Disposable;
  redactText(text: string): string;
}

export function createSecretRegister(): SecretRegister {
  const sets = new Set<ReadonlyMap<string, string>>();
  let redactor: Redactor | undefined;
  return {
    add(secrets) {
      sets.add(secrets);
      redactor = undefined;
      return {
        [Symbol.dispose]() {
          sets.delete(secrets);
          redactor = undefined;
        },
      };
    },
    redactText(text) {
      // Built when a line is written, not at each change: most jobs come and go without one.
      redactor ??= createRedactor(new Map([...sets].flatMap((set) => [...set])));
      return redactor.redactText(text);
    },
  };
}
