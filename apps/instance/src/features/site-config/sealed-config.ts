import { z } from 'zod';
import type { Executable, Transaction } from '../../database/index.ts';
import type { SealedTexts } from '../secrets/index.ts';
import type { HiddenConfig } from './hidden-secrets.ts';

/** What is encrypted: text and secrets apart, so that nothing has to be hidden again when it is shown. */
const sealedSchema = z.object({ text: z.string(), secrets: z.record(z.string(), z.string()) });

/** @returns the id of the sealed text */
export function keepConfig(
  sealedTexts: SealedTexts,
  transaction: Transaction,
  { text, secrets }: HiddenConfig,
): Promise<string> {
  const sealed: z.infer<typeof sealedSchema> = { text, secrets: Object.fromEntries(secrets) };
  return sealedTexts.keep(transaction, JSON.stringify(sealed));
}

/** @throws UnknownKeyError, BrokenSealError */
export async function readConfig(
  sealedTexts: SealedTexts,
  executable: Executable,
  textId: string,
): Promise<HiddenConfig> {
  const { text, secrets } = sealedSchema.parse(JSON.parse(await sealedTexts.read(executable, textId)));
  return { text, secrets: new Map(Object.entries(secrets)) };
}
