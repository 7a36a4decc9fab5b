import { parseArgs } from 'node:util'
import { type FaultName, isFaultName } from './faults/fault.ts'
import type { SimulatorOptions } from './simulator-options.ts'

const options = {
  port: { type: 'string', default: '8188' },
  listen: { type: 'string', default: '127.0.0.1' },
  'vram-gb': { type: 'string' },
  speed: { type: 'string' },
  'time-scale': { type: 'string' },
  'load-gbps': { type: 'string' },
  'models-dir': { type: 'string' },
  'output-dir': { type: 'string' },
  'input-dir': { type: 'string' },
  'temp-dir': { type: 'string' },
  'max-upload-size': { type: 'string' },
  'enable-cors-header': { type: 'string' },
  learn: { type: 'string', multiple: true },
  fault: { type: 'string', multiple: true },
  seed: { type: 'string' },
  name: { type: 'string' },
  'no-previews': { type: 'boolean' },
  'tell-prompts': { type: 'boolean' }
} as const

/** What the command line says: the simulator's options, and whether it prints each prompt's start and end. */
export type CommandLine = SimulatorOptions & { tellsPrompts: boolean }

/** Reads the command line. Throws with the option's name when a value is wrong. */
export function readCommandLine(args: string[]): CommandLine {
  const { values } = parseArgs({ args, options })
  const number = (name: 'vram-gb' | 'speed' | 'time-scale' | 'load-gbps' | 'max-upload-size' | 'seed') =>
    positive(name, values[name])
  const read: CommandLine = {
    port: port(values.port),
    host: values.listen,
    ...(values['models-dir'] === undefined ? {} : { modelsDir: values['models-dir'] }),
    outputDir: values['output-dir'],
    inputDir: values['input-dir'],
    tempDir: values['temp-dir'],
    learnDirs: values.learn ?? [],
    faultRates: rates(values.fault ?? []),
    hasPreviews: values['no-previews'] !== true,
    tellsPrompts: values['tell-prompts'] === true
  }
  const given = {
    vramGb: number('vram-gb'),
    speed: number('speed'),
    timeScale: number('time-scale'),
    loadGbps: number('load-gbps'),
    maxUploadMb: number('max-upload-size'),
    seed: number('seed'),
    name: values.name,
    corsOrigin: values['enable-cors-header']
  }
  return { ...read, ...withoutUndefined(given) }
}

function withoutUndefined<T extends object>(given: T): { [Key in keyof T]?: NonNullable<T[Key]> } {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as {
    [Key in keyof T]?: NonNullable<T[Key]>
  }
}

function port(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 0 || number > 65_535) throw new RangeError('--port must be from 0 to 65535')
  return number
}

function positive(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const number = Number(text)
  const isAllowed = Number.isFinite(number) && (number > 0 || name === 'seed')
  if (!isAllowed) throw new RangeError(`--${name} must be a positive number`)
  return number
}

function rates(texts: string[]): Partial<Record<FaultName, number>> {
  const read: Partial<Record<FaultName, number>> = {}
  for (const text of texts) {
    const [name, rate] = text.split(':')
    const number = Number(rate)
    if (!isFaultName(name) || !(number >= 0 && number <= 1))
      throw new RangeError('--fault must be name:rate, rate from 0 to 1')
    read[name] = number
  }
  return read
}
