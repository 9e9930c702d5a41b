/** Metric families of a text exposition: their comment lines and samples, by family name. */
export type Families = Map<string, { comments: string[]; samples: string[] }>;

const droppedPrefixes = ['go_', 'promhttp_', 'process_'];

/**
 * Reads what an exporter answered (from the reference): families about the exporter's own process are dropped, and
 * `labels` are added to each sample.
 */
export function readExposition(text: string, labels: Readonly<Record<string, string>>): Families {
  const families: Families = new Map();
  let family = '';
  for (const line of text.split('\n')) {
    const comment = /^# (?:HELP|TYPE) ([A-Za-z_:][\w:]*)/.exec(line)?.[1];
    const sample = /^([A-Za-z_:][\w:]*)/.exec(line)?.[1];
    // The samples of a histogram have names of their own, which begin with the family's.
    if (comment !== undefined) family = comment;
    else if (sample === undefined) continue;
    else if (!sample.startsWith(family) || family === '') family = sample;
    if (droppedPrefixes.some((prefix) => family.startsWith(prefix))) continue;
    const entry = families.get(family) ?? { comments: [], samples: [] };
    families.set(family, entry);
    if (comment === undefined) entry.samples.push(addLabels(line, labels));
    else entry.comments.push(line);
  }
  return families;
}

/** Joins families of several sources; comments of the first that has a family stand for all. */
export function joinExpositions(sources: readonly Families[]): string {
  const joined: Families = new Map();
  for (const [name, family] of sources.flatMap((source) => [...source])) {
    const known = joined.get(name);
    if (known === undefined) joined.set(name, { comments: family.comments, samples: [...family.samples] });
    else known.samples.push(...family.samples);
  }
  return [...joined.values()]
    .map(({ comments, samples }) => [...comments, ...samples, ''].join('\n'))
    .join('');
}

function addLabels(sample: string, labels: Readonly<Record<string, string>>): string {
  const added = Object.entries(labels)
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    .join(',');
  if (added === '') return sample;
  const match = /^([\w:]+)(?:\{(.*)\})?(\s.*)$/.exec(sample);
  if (match === null) return sample;
  const others = match[2] === undefined || match[2] === '' ? '' : `,${match[2]}`;
  return `${match[1]}{${added}${others}}${match[3]}`;
}
