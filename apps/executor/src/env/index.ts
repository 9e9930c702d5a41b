export { thisHost } from './host.ts';
export { type Host, readSettings, SettingsError, type SettingsRead } from './read.ts';
export { readSomeSettings } from './read-some.ts';
export { renderSettingsReference, type ShownSetting, showSettings } from './show.ts';
export type { Settings } from './variables.ts';
