import { applyRules, NftError } from './nft.ts';

const tries = 5;

/**
 * Sets the rules of a job's network.
 * `nft` reads the list of interfaces before it sets rules, and does not notice when other interfaces that come and go
 * meanwhile make the list incomplete: it then says that the bridge does not exist, so that answer is asked for again.
 * @throws NftError
 */
export async function setRules(networkNamespace: string | undefined, rules: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await applyRules(networkNamespace, rules);
    } catch (error) {
      if (attempt < tries && isWithoutInterface(error)) continue;
      throw error;
    }
  }
}

export function isWithoutInterface(error: unknown): boolean {
  return error instanceof NftError && /interface does not exist/i.test(error.message);
}

/** What is gone already is fine; also when the network namespace is gone: so are its rules. */
export async function removeRules(table: string, networkNamespace: string | undefined): Promise<void> {
  try {
    await applyRules(networkNamespace, `delete table inet ${table}\n`);
  } catch (error) {
    if (error instanceof NftError && (error.missing || /no such file or directory/i.test(error.message)))
      return;
    throw error;
  }
}
