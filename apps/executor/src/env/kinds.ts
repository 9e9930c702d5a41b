import { isIP } from 'node:net';
import { resolve } from 'node:path';
import {
  type DockerAuthConfig,
  dockerAuthConfigSchema,
  dockerAuthMistakes,
  isQueueName,
  parseByteSize,
  parseDuration,
  type QueueName,
  queueNames,
} from '@kiln/protocol';

/** How a setting's text is read. `parse` throws a RangeError whose message continues "NAME: ...". */
export interface Kind<Value> {
  /** Shown in the reference docs. */
  type: string;
  parse(text: string): Value;
}

export const text: Kind<string> = { type: 'text', parse: (value) => value };

const trueWords: readonly string[] = ['1', 't', 'T', 'TRUE', 'true', 'True'];
const falseWords: readonly string[] = ['0', 'f', 'F', 'FALSE', 'false', 'False'];
export const bool: Kind<boolean> = {
  type: 'bool',
  parse(value) {
    if (trueWords.includes(value)) return true;
    if (falseWords.includes(value)) return false;
    throw new RangeError(`${JSON.stringify(value)} is not a bool; write "true" or "false"`);
  },
};

export function integer(minimum: number): Kind<number> {
  return {
    type: 'int',
    parse(value) {
      const number = /^[+-]?\d+$/.test(value) ? Number(value) : Number.NaN;
      if (!Number.isSafeInteger(number))
        throw new RangeError(`${JSON.stringify(value)} is not a whole number`);
      if (number < minimum) throw new RangeError(`${value} is too small; the least is ${minimum}`);
      return number;
    },
  };
}

/** Seconds. */
export function duration(rule: 'positive' | 'zero allowed'): Kind<number> {
  return {
    type: 'duration',
    parse(value) {
      const seconds = parseDuration(value);
      if (seconds < 0) throw new RangeError(`${value} is negative`);
      if (seconds === 0 && rule === 'positive')
        throw new RangeError(`must be longer than 0, for example "1s"`);
      return seconds;
    },
  };
}

/** Bytes. */
export const byteSize: Kind<number> = { type: 'size', parse: parseByteSize };

export function oneOf<const Word extends string>(
  words: readonly Word[],
  hints: Record<string, Word> = {},
): Kind<Word> {
  return {
    type: words.map((word) => `\`${word}\``).join(', '),
    parse(value) {
      const word = words.find((candidate) => candidate === value);
      if (word !== undefined) return word;
      const hint = hints[value.toLowerCase()];
      const meant = hint === undefined ? '' : `; write "${hint}"`;
      throw new RangeError(`${JSON.stringify(value)} is not one of ${words.join(', ')}${meant}`);
    },
  };
}

export const queueName: Kind<QueueName> = {
  type: 'queue',
  parse(value) {
    if (isQueueName(value)) return value;
    throw new RangeError(
      `there is no queue ${JSON.stringify(value)}; the queues are ${queueNames.join(', ')}`,
    );
  },
};

export const queueNameList: Kind<QueueName[]> = {
  type: 'queues, separated by commas',
  parse(value) {
    const names = value.split(',').map((item) => queueName.parse(item.trim()));
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined) throw new RangeError(`names the queue "${twice}" twice`);
    return names;
  },
};

/** An http(s) address without credentials, query or fragment. */
export const httpUrl: Kind<URL> = {
  type: 'URL',
  parse(value) {
    if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(value))
      throw new RangeError(
        `${JSON.stringify(value)} has no protocol; write "https://${value.replace(/^\/+/, '')}"`,
      );
    const url = URL.canParse(value) ? new URL(value) : undefined;
    if (url === undefined || url.hostname === '')
      throw new RangeError(`${JSON.stringify(value)} is not an address such as "https://kiln.example.com"`);
    if (url.protocol !== 'https:' && url.protocol !== 'http:')
      throw new RangeError(`"${url.protocol}//" is not supported; write "https://..."`);
    if (url.username !== '' || url.password !== '')
      throw new RangeError('must not contain a user name or password');
    if (url.search !== '' || url.hash !== '')
      throw new RangeError(`must not contain "${url.search === '' ? '#' : '?'}..."`);
    return url;
  },
};

/** The address of a Prometheus exporter, without the path that Kiln itself adds. */
export const exporterUrl: Kind<URL> = {
  type: 'URL',
  parse(value) {
    const url = httpUrl.parse(value);
    if (/\/metrics\/?$/.test(url.pathname))
      throw new RangeError(`write it without "/metrics": "${value.replace(/\/metrics\/?$/, '')}"`);
    return url;
  },
};

export const mirrorUrlList: Kind<string[]> = {
  type: 'URLs, separated by commas',
  parse: (value) => value.split(',').map((item) => httpUrl.parse(item.trim()).href),
};

export const absolutePath: Kind<string> = {
  type: 'path',
  parse(value) {
    if (!value.startsWith('/')) throw new RangeError(`${JSON.stringify(value)} is not an absolute path`);
    return value;
  },
};

/** Resolved against the working directory. */
export const directory: Kind<string> = { type: 'path', parse: (value) => resolve(value) };

/** An image reference, or the absolute path of a file of one's own. */
export const image: Kind<string> = {
  type: 'image',
  parse(value) {
    if (!/^[a-z0-9][\w.:@/-]*$/i.test(value) && !value.startsWith('/'))
      throw new RangeError(
        `${JSON.stringify(value)} is not an image such as "registry.example.com/name:tag"`,
      );
    return value;
  },
};

export const cidrList: Kind<string[]> = {
  type: 'address ranges, separated by commas',
  parse(value) {
    return value.split(',').map((item) => {
      const range = item.trim();
      const [address = '', bits] = range.split('/');
      const version = isIP(address);
      const most = version === 4 ? 32 : 128;
      if (version === 0 || (bits !== undefined && (!/^\d{1,3}$/.test(bits) || Number(bits) > most)))
        throw new RangeError(
          `${JSON.stringify(range)} is not a range such as "10.1.0.0/16" or "fd00:1::/64"`,
        );
      return bits === undefined ? `${address}/${most}` : range;
    });
  },
};

/** Never quotes the value: it holds credentials. */
export const dockerAuth: Kind<DockerAuthConfig> = {
  type: 'JSON',
  parse(value) {
    let config: unknown;
    try {
      config = JSON.parse(value);
    } catch {
      throw new RangeError('is not JSON; it takes the content of a Docker config.json with "auths"');
    }
    const mistakes = dockerAuthMistakes(config);
    if (mistakes.length > 0) throw new RangeError(mistakes.join('; '));
    return dockerAuthConfigSchema.parse(config);
  },
};

/** Sent in a header whose value is split at spaces, so it can hold none. Never quoted. */
export const sharedSecret: Kind<string> = {
  type: 'secret',
  parse(value) {
    if (!/^[\x21-\x7e]+$/.test(value))
      throw new RangeError('holds spaces, line breaks or other characters that an HTTP header cannot carry');
    return value;
  },
};
