import type { TemplateContent } from '@comfy-balancer/contract/template'
import { templateFlaws } from '@comfy-balancer/domain/template/flaws'
import type { Flaw, Workflow } from '@comfy-balancer/domain/workflow'
import type { TaskApiDeps } from '../deps.ts'
import { objectText } from '../object-text.ts'
import { createParamValidator, type ParamValidator } from './param-validator.ts'

/** What reading a template takes; see TaskApiDeps. */
export type TemplateReading = Pick<TaskApiDeps, 'exactText' | 'readGraph'>

/** A template ready for use: checked, its schema compiled, its texts with every digit. */
export type StoredTemplate = {
  readonly name: string
  readonly shared: boolean
  readonly content: TemplateContent
  readonly workflow: Workflow
  readonly promptText: string
  /** Default of a param → its JSON text. */
  readonly defaults: ReadonlyMap<string, string>
  readonly validate: ParamValidator
  /** The whole as it is answered. */
  readonly text: string
  /** The same without the workflow, for lists. */
  readonly summaryText: string
}

/** Flaws of a template; `ofGraph` when its workflow is already no workflow. */
export type TemplateFaults = { readonly flaws: readonly Flaw[]; readonly ofGraph: boolean }

/** The document that is kept of a template: the caller's words to the last digit, and when they came. */
export const documentOf = (contentText: string, updatedAt: string, { exactText }: TemplateReading): string =>
  objectText({ updatedAt: JSON.stringify(updatedAt), ...Object.fromEntries(exactText.membersOf(contentText)) })

/** Reads a document whose shape fits the contract, or says what is wrong with what it holds. */
export const readTemplate = (
  { name, shared, document }: { readonly name: string; readonly shared: boolean; readonly document: string },
  { exactText, readGraph }: TemplateReading
): StoredTemplate | TemplateFaults => {
  const { updatedAt = 'null', ...members } = Object.fromEntries(exactText.membersOf(document))
  const { prompt: promptText = '{}', ...others } = members
  const content = JSON.parse(objectText(members)) as TemplateContent
  const read = readGraph(content.prompt)
  if ('flaws' in read) return { flaws: read.flaws, ofGraph: true }
  const { workflow } = read
  const compiled = createParamValidator(content.input_schema)
  const flaws = [...('flaws' in compiled ? compiled.flaws : []), ...templateFlaws(content, workflow)]
  if ('flaws' in compiled || flaws.length > 0) return { flaws, ofGraph: false }
  const head = { name: JSON.stringify(name), shared: String(shared), updatedAt }
  const { description, input_schema } = others
  const summary = { ...head, ...(description === undefined ? {} : { description }), input_schema: input_schema ?? '{}' }
  return {
    ...{ name, shared, content, workflow, promptText, validate: compiled.validate },
    defaults: defaultsOf(input_schema ?? '{}', exactText),
    text: objectText({ ...head, ...others, prompt: promptText }),
    summaryText: objectText(summary)
  }
}

const defaultsOf = (schemaText: string, { membersOf }: TaskApiDeps['exactText']): Map<string, string> => {
  const properties = membersOf(membersOf(schemaText).get('properties') ?? '{}')
  return new Map(
    [...properties].flatMap(([param, text]) => {
      const fallback = membersOf(text).get('default')
      return fallback === undefined ? [] : [[param, fallback]]
    })
  )
}
