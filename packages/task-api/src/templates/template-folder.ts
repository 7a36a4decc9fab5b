import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { schemas } from '@comfy-balancer/contract/schemas'
import { TemplateContent, TemplateName } from '@comfy-balancer/contract/template'
import { parseJson } from '@comfy-balancer/service-kit/json-body'
import { placeOf, Refusal } from '@comfy-balancer/service-kit/problems'
import { Ajv, type ValidateFunction } from 'ajv'
import { readTemplate, type StoredTemplate, type TemplateReading } from './stored-template.ts'

const bounds = { maxDepth: 64, maxContainers: 50_000, maxMembers: 250_000 }

/**
 * Reads the templates that every tenant shares: each `<name>.json` of a folder is the body that one would PUT. Rejects with the file's name and
 * what is wrong with it, so that a service with a broken template does not start.
 */
export const readTemplateFolder = async (
  folder: string | undefined,
  reading: TemplateReading
): Promise<Map<string, StoredTemplate>> => {
  const found = new Map<string, StoredTemplate>()
  if (folder === undefined) return found
  const checkShape = shapeCheck()
  const files = (await readdir(folder)).filter(file => file.endsWith('.json')).sort()
  for (const file of files) {
    const name = file.slice(0, -'.json'.length)
    const text = await readFile(join(folder, file), 'utf8')
    found.set(name, readFileText({ name, text, path: join(folder, file) }, checkShape, reading))
  }
  return found
}

type TemplateFile = { readonly name: string; readonly text: string; readonly path: string }

const readFileText = (
  { name, text, path }: TemplateFile,
  checkShape: ValidateFunction,
  reading: TemplateReading
): StoredTemplate => {
  const fail = (what: string): never => {
    throw new Error(`the template ${path} cannot be used: ${what}`)
  }
  if (!isTemplateName(name)) fail('its name must be letters, digits, _ . and -, at most 64')
  const fault = shapeFault(text, checkShape)
  if (fault !== undefined) fail(fault)
  const read = readTemplate({ name, shared: true, document: text }, reading)
  return 'flaws' in read ? fail(read.flaws.map(flaw => flaw.detail).join('; ')) : read
}

const isTemplateName = (name: string): boolean => new RegExp(TemplateName.pattern ?? '').test(name)

/** The very check that a PUT gets. */
const shapeCheck = (): ValidateFunction => {
  const ajv = new Ajv({ allErrors: true, strict: false, validateFormats: false, logger: false })
  for (const schema of schemas) ajv.addSchema(schema)
  return ajv.compile({ $ref: TemplateContent.$id })
}

const shapeFault = (text: string, checkShape: ValidateFunction): string | undefined => {
  try {
    if (checkShape(parseJson(text, bounds))) return undefined
    return checkShape.errors?.map(error => placeOf(error).detail).join('; ')
  } catch (error) {
    if (error instanceof Refusal) return error.detail
    throw error
  }
}
