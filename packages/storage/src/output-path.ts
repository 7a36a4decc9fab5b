/** Which output of which attempt. The token keeps two attempts of a task apart. */
export type OutputName = {
  readonly tenant: string
  readonly taskId: string
  readonly token: string
  readonly index: number
  /** As ComfyUI named it; only its safe characters are used. */
  readonly filename: string
}

const maxFilename = 120
const safeSegment = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

/** Where an output is kept: `tenants/<tenant>/tasks/<task>/<token>/<index>-<safe filename>`. Throws RangeError on ids that are not ours. */
export const outputPath = ({ tenant, taskId, token, index, filename }: OutputName): string => {
  if (!Number.isSafeInteger(index) || index < 0) throw new RangeError('the index of an output is a whole number from 0')
  return `${taskFolder({ tenant, taskId })}/${segment('token', token)}/${index}-${safeFilename(filename)}`
}

/** The folder of all outputs of a task, for removal. */
export const taskFolder = ({ tenant, taskId }: Pick<OutputName, 'tenant' | 'taskId'>): string =>
  `tenants/${segment('tenant', tenant)}/tasks/${segment('task', taskId)}`

/** Where a file that a tenant brought is kept. */
export const inputPath = ({ tenant, name }: { readonly tenant: string; readonly name: string }): string =>
  `tenants/${segment('tenant', tenant)}/inputs/${segment('name', name)}`

/** A name of at most 120 characters without separators, control characters and leading or trailing dots; the extension survives. */
export const safeFilename = (filename: string): string => {
  const name = filename.split(/[/\\]/).at(-1) ?? ''
  const safe = name
    .normalize('NFKD')
    .replace(/[^A-Za-z0-9._-]+/g, '_')
    .replace(/\.{2,}/g, '.')
    .replace(/^[._]+|[._]+$/g, '')
  if (safe === '') return 'output'
  if (safe.length <= maxFilename) return safe
  const extension = /\.[A-Za-z0-9]{1,10}$/.exec(safe)?.[0] ?? ''
  return safe.slice(0, maxFilename - extension.length) + extension
}

const segment = (what: string, text: string): string => {
  if (!safeSegment.test(text) || text.includes('..')) throw new RangeError(`the ${what} cannot stand in a path`)
  return text
}
