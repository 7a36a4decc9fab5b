import { readFileSync, statSync } from 'node:fs'
import { inspect } from 'node:util'
import { NodeId } from '@comfy-balancer/contract/node'
import type { Static, StringOptions, TObject, TSchema, TString } from '@sinclair/typebox'
import { Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'

/** One thing that is wrong with the environment: which variable, and what it must be. */
export type ConfigFault = { readonly name: string; readonly message: string }

/** A rule over several variables. It sees only the values that are right by themselves, so each may be missing. */
export type ConfigRule<T> = (values: Partial<T>) => readonly ConfigFault[]

/** Thrown when the environment is not usable; the message lists every fault on a line of its own and never a secret. */
export class ConfigError extends Error {
  readonly faults: readonly ConfigFault[]

  constructor(faults: readonly ConfigFault[]) {
    const lines = faults.map(fault => `  ${fault.name}: ${fault.message}`)
    super(
      `The configuration is not usable (${faults.length} ${faults.length === 1 ? 'fault' : 'faults'}):\n${lines.join('\n')}`
    )
    this.name = 'ConfigError'
    this.faults = faults
  }
}

/** A string that is never printed, and that may also come from the file named by `<KEY>_FILE`. */
export const secretString = (options: StringOptions = {}): TString => Type.String({ ...options, secret: true })

/** The name or address of a host, without scheme, port or path. */
export const hostString = (options: StringOptions = {}): TString =>
  Type.String({ maxLength: 255, pattern: '^[^\\s/@]+$', rule: 'must be the name or the address of a host', ...options })

/** An address that begins with http:// or https://. */
export const httpUrl = (options: StringOptions = {}): TString =>
  Type.String({
    pattern: '^https?://[^\\s@]+$',
    rule: 'must be an http:// or https:// URL, without a user in it',
    mustBe: 'url',
    ...options
  })

/** What a service calls itself among others of its kind. */
export const instanceName = (options: StringOptions = {}): TString =>
  Type.String({ ...NodeId, rule: 'must be letters, digits, dots, colons, hyphens or underscores', ...options })

/** The path of a folder that must be there. */
export const folderPath = (options: StringOptions = {}): TString =>
  Type.String({ rule: 'must be a folder that exists', mustBe: 'folder', ...options })

/** The path of a file that must be there. */
export const filePath = (options: StringOptions = {}): TString =>
  Type.String({ rule: 'must be a file that exists', mustBe: 'file', ...options })

/**
 * Reads the variables named by the schema's keys. An empty string counts as absent, defaults and conversions come from the schema.
 * Secrets of the result are readable by name but appear neither in JSON, nor in inspection, nor in a spread copy.
 * Throws ConfigError with all faults at once.
 */
export const readConfig = <T extends TObject>(
  schema: T,
  env: Readonly<Record<string, string | undefined>>,
  rules: readonly ConfigRule<Static<T>>[] = []
): Static<T> => {
  const faults: ConfigFault[] = []
  const values: Record<string, unknown> = {}
  for (const [name, property] of Object.entries(schema.properties)) {
    const value = readValue(name, property, env, faults)
    if (value !== undefined) values[name] = value
  }
  faults.push(...missing(schema, values, faults))
  for (const rule of rules) faults.push(...rule(values as Partial<Static<T>>))
  if (faults.length > 0) throw new ConfigError(faults)
  return hideSecrets(schema, values) as Static<T>
}

/** What a pattern cannot tell of a text. */
const tests: Readonly<Record<string, (text: string) => boolean>> = {
  url: text => URL.canParse(text),
  folder: path => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true,
  file: path => statSync(path, { throwIfNoEntry: false })?.isFile() === true
}

const isSecret = (schema: TSchema): boolean => schema.secret === true

const readValue = (
  name: string,
  schema: TSchema,
  env: Readonly<Record<string, string | undefined>>,
  faults: ConfigFault[]
): unknown => {
  const text = readText(name, schema, env, faults)
  const value = text === undefined ? Value.Default(schema, undefined) : convert(schema, text)
  if (value === undefined) return undefined
  const error = Value.Errors(schema, value).First()
  const passes = typeof schema.mustBe !== 'string' || error !== undefined || tests[schema.mustBe]?.(String(value))
  if (error === undefined && passes) return value
  const given = isSecret(schema) ? 'the value given is not printed' : `given: ${JSON.stringify(text ?? value)}`
  faults.push({ name, message: `${rule(schema, error?.message ?? '')} (${given})` })
  return undefined
}

const readText = (
  name: string,
  schema: TSchema,
  env: Readonly<Record<string, string | undefined>>,
  faults: ConfigFault[]
): string | undefined => {
  const text = env[name] || undefined
  const path = isSecret(schema) ? env[`${name}_FILE`] || undefined : undefined
  if (path === undefined) return text
  if (text !== undefined) {
    faults.push({ name, message: `is set together with ${name}_FILE; set one of them` })
    return undefined
  }
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '') || undefined
  } catch (error) {
    faults.push({
      name: `${name}_FILE`,
      message: `names a file that cannot be read (${(error as NodeJS.ErrnoException).code})`
    })
    return undefined
  }
}

const booleans: Readonly<Record<string, boolean>> = {
  true: true,
  '1': true,
  yes: true,
  on: true,
  false: false,
  '0': false,
  no: false,
  off: false
}

const convert = (schema: TSchema, text: string): unknown => {
  if (schema.type === 'boolean') return booleans[text.toLowerCase()] ?? text
  if (schema.type !== 'integer' && schema.type !== 'number') return text
  return /^[+-]?\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : text
}

const rule = (schema: TSchema, message: string): string => {
  const words = typeof schema.rule === 'string' ? schema.rule : message.charAt(0).toLowerCase() + message.slice(1)
  return words.replace(/^expected/, 'must be')
}

const missing = (schema: TObject, values: Record<string, unknown>, faults: readonly ConfigFault[]): ConfigFault[] =>
  (schema.required ?? [])
    .filter(name => !(name in values) && !faults.some(fault => fault.name === name || fault.name === `${name}_FILE`))
    .map(name => ({ name, message: `must be set${describe(schema.properties[name])}` }))

const describe = (schema: TSchema | undefined): string => (schema?.description ? `: ${schema.description}` : '')

const hideSecrets = (schema: TObject, values: Record<string, unknown>): Record<string, unknown> => {
  const config: Record<string, unknown> = {}
  const shown: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(values)) {
    const secret = isSecret(schema.properties[name] ?? ({} as TSchema))
    shown[name] = secret ? '[redacted]' : value
    Object.defineProperty(config, name, { value, enumerable: !secret })
  }
  Object.defineProperty(config, 'toJSON', { value: () => ({ ...shown }) })
  Object.defineProperty(config, inspect.custom, { value: () => ({ ...shown }) })
  return config
}
