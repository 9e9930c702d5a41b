import { z } from 'zod';
import { ImageError } from './image-error.ts';
import type { ImageLimits } from './limits.ts';

export interface Descriptor {
  digest: string;
  size: number;
}

export interface Manifest {
  config: Descriptor;
  layers: Descriptor[];
}

/** What an image says about its processes, and the digests of its layers once decompressed. */
export interface ImageConfig {
  env: string[];
  user: string;
  workingDir: string;
  diffIds: string[];
}

/** What registries are asked for, and all that {@link readManifest} understands. */
export const manifestTypes: readonly string[] = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];

const configTypes = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
];
const layerType =
  /^application\/vnd\.(?:oci\.image\.layer\.v1\.tar|docker\.image\.rootfs\.diff\.tar)(?:[.+](?:gzip|zstd))?$/;

const digestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const descriptorSchema = z.object({
  mediaType: z.string().max(200).optional(),
  digest: digestSchema,
  size: z.int().nonnegative(),
});
const manifestSchema = z.object({ config: descriptorSchema, layers: z.array(descriptorSchema) });
const indexSchema = z.object({
  manifests: z.array(
    descriptorSchema.extend({
      platform: z
        .object({ os: z.string(), architecture: z.string(), variant: z.string().optional() })
        .optional(),
      annotations: z.record(z.string(), z.string()).optional(),
    }),
  ),
});
export type Index = z.infer<typeof indexSchema>;

/**
 * Reads a manifest, or an index of manifests for several platforms. The names of types that registries send along are not
 * needed: what it holds tells which it is.
 * @throws ImageError
 */
export function readManifest(
  bytes: Buffer,
  limits: ImageLimits,
): { manifest: Manifest; index?: undefined } | { index: Index; manifest?: undefined } {
  const content = parsedJson(bytes, 'manifest');
  const isIndex = 'manifests' in content;
  // What could be read in two ways would be one image here and another one elsewhere.
  if (isIndex && ('layers' in content || 'config' in content || 'fsLayers' in content))
    throw new ImageError('its manifest claims to be both an image and a list of images');
  if ('fsLayers' in content)
    throw new ImageError(
      'its manifest is in the form of Docker before 2016 (schema 1): push the image again with a current Docker',
    );
  if (isIndex) {
    const index = indexSchema.safeParse(content);
    if (!index.success) throw new ImageError('its list of platforms cannot be read');
    return { index: index.data };
  }
  const read = manifestSchema.safeParse(content);
  if (!read.success) throw new ImageError('its manifest cannot be read: it is no container image');
  const { config, layers } = read.data;
  if (config.mediaType !== undefined && !configTypes.includes(config.mediaType))
    throw new ImageError(`it is no container image but ${JSON.stringify(config.mediaType)}`);
  const other = layers.find(({ mediaType }) => mediaType !== undefined && !layerType.test(mediaType));
  if (other)
    throw new ImageError(
      `it has a layer of a kind that is not supported: ${JSON.stringify(other.mediaType)}`,
    );
  if (config.size > limits.configBytes) throw new ImageError('its config is too large');
  if (layers.length > limits.layers)
    throw new ImageError(`it has ${layers.length} layers; at most ${limits.layers} are possible`);
  if (layers.reduce((sum, { size }) => sum + size, 0) > limits.packedBytes)
    throw new ImageError('its layers are too large');
  return { manifest: { config, layers } };
}

/** The manifest for this machine. @throws ImageError that names what there is */
export function chooseForPlatform(index: Index, architecture: string = ociArchitecture()): Descriptor {
  const fitting = index.manifests.filter(
    ({ platform }) => platform?.os === 'linux' && platform.architecture === architecture,
  );
  // Higher variants of amd64 and arm64 need processors that this one may not be.
  const plain = fitting.find(({ platform }) => ['', 'v1', 'v8'].includes(platform?.variant ?? ''));
  const chosen = plain ?? fitting[0] ?? (index.manifests.length === 1 ? index.manifests[0] : undefined);
  if (chosen !== undefined && (chosen.platform === undefined || fitting.includes(chosen))) return chosen;
  const platforms = index.manifests
    .map(({ platform }) => `${platform?.os ?? 'unknown'}/${platform?.architecture ?? 'unknown'}`)
    .filter((name) => name !== 'unknown/unknown');
  throw new ImageError(
    `there is none for linux/${architecture}, only for ${[...new Set(platforms)].slice(0, 20).join(', ') || 'nothing'}`,
  );
}

const strings = z.array(z.string()).max(2000).nullish();
const configSchema = z.object({
  os: z.string().optional(),
  architecture: z.string().optional(),
  config: z
    .object({
      Env: strings,
      User: z.string().max(500).nullish(),
      WorkingDir: z.string().max(4000).nullish(),
    })
    .nullish(),
  rootfs: z.object({ diff_ids: z.array(digestSchema).nullish() }),
});

/** @throws ImageError */
export function readConfig(bytes: Buffer): ImageConfig {
  const read = configSchema.safeParse(parsedJson(bytes, 'config'));
  if (!read.success) throw new ImageError('its config cannot be read');
  const { os = 'linux', architecture = '', config, rootfs } = read.data;
  if (os !== 'linux' || (architecture !== '' && architecture !== ociArchitecture()))
    throw new ImageError(`it is for ${os}/${architecture}, and this machine is linux/${ociArchitecture()}`);
  const env = config?.Env ?? [];
  const user = config?.User ?? '';
  const workingDir = config?.WorkingDir ?? '';
  if ([...env, user, workingDir].some((text) => text.includes('\0')))
    throw new ImageError('its config has a zero byte in a variable, user or directory');
  return {
    // What has no name cannot be in an environment.
    env: env.filter((variable) => /^[^=]+=/.test(variable)),
    user,
    workingDir,
    diffIds: rootfs.diff_ids ?? [],
  };
}

export function ociArchitecture(): string {
  const names: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', ia32: '386' };
  return names[process.arch] ?? process.arch;
}

function parsedJson(bytes: Buffer, what: string): object {
  try {
    const content: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof content === 'object' && content !== null) return content;
  } catch (error) {
    throw new ImageError(`its ${what} is no JSON`, { cause: error });
  }
  throw new ImageError(`its ${what} cannot be read`);
}
