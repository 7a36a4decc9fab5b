/** What a task's PNG pictures are converted to. */
export type OutputFormat = { readonly format: 'jpg' | 'webp'; readonly quality: number }

/** The conversion that a template asks for; undefined when its pictures stay as ComfyUI saves them. */
export const outputFormatOf = (
  config: { readonly format?: 'png' | 'jpg' | 'webp'; readonly quality?: number } | undefined
): OutputFormat | undefined => {
  const { format = 'png', quality = 90 } = config ?? {}
  return format === 'png' ? undefined : { format, quality }
}
