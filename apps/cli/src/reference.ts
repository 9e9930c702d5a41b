import type { Command, Option } from 'commander';

/** docs/cli.md, from the definitions of the commands. */
export function renderReference(program: Command): string {
  return `# The kiln command

<!-- Made from apps/cli/src/commands. After a change there run
     \`sh tools/node/run --exec vitest run --project unit apps/cli/src/reference.test.ts -u\`. -->

\`bin/kiln\` runs from a checkout, from any directory; a link to it may stand anywhere on PATH. \`kiln serve\` runs an
instance; every other command talks to one.

| variable | meaning |
| --- | --- |
| \`KILN_URL\` | address of the instance, \`http://127.0.0.1:3080\` where it is not set; \`--url\` goes first |
| \`KILN_TOKEN\` | access token. Where it is not set, the one that \`kiln login\` made for that address is used; with an instance on this machine's loopback also the file \`admin-token\` of the data directory. There is no option for it: arguments are visible to everybody on the machine |
| \`KILN_DATA_DIR\` | data directory of the instance on this machine, \`.kiln\` below the working directory where it is not set |
| \`NO_COLOR\` | set to anything: no colours on terminals |

| exit code | meaning |
| --- | --- |
| 0 | success; with \`--wait\`: the job completed |
| 1 | with \`--wait\`: the job failed |
| 2 | the command was not carried out: wrong arguments, a refusal, no instance |
| 3 | with \`--wait\`: the job was canceled |
| 130 | interrupted; a job that was waited for goes on |

Results go to standard output, everything about them (progress, notices, hints) to standard error. \`--json\` prints the
instance's own JSON, one document a line, on every command. What jobs and other people wrote is shown, never obeyed: control
sequences other than colours are taken out before they reach a terminal (\`kiln job logs --raw\` has the bytes as they are).

${leaves(program).map(renderCommand).join('\n\n')}
`;
}

/** Every command that does something, in the order of the help. */
export function leaves(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
}

function renderCommand(command: Command): string {
  const options = command.options.filter((option) => !option.hidden);
  const rows = [
    ...command.registeredArguments.map((argument) => [
      `\`${argument.required ? '<' : '['}${argument.name()}${argument.variadic ? '...' : ''}${argument.required ? '>' : ']'}\``,
      `${argument.description}${argument.argChoices ? ` (${argument.argChoices.join(', ')})` : ''}`,
    ]),
    ...options.map((option) => [`\`${option.flags}\``, describe(option)]),
  ];
  const table = [
    '| argument | meaning |',
    '| --- | --- |',
    ...rows.map((row) => `| ${row.map(cell).join(' | ')} |`),
  ];
  const paragraphs = [`## ${fullName(command)}`, sentence(command.description())];
  if (rows.length > 0) paragraphs.push(table.join('\n'));
  return paragraphs.join('\n\n');
}

function fullName(command: Command): string {
  return command.parent ? `${fullName(command.parent)} ${command.name()}` : command.name();
}

function describe(option: Option): string {
  const choices = option.argChoices ? ` (${option.argChoices.join(', ')})` : '';
  const isShown = typeof option.defaultValue === 'number' || typeof option.defaultValue === 'string';
  return `${option.description}${choices}${isShown ? ` (default: ${option.defaultValue})` : ''}`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
