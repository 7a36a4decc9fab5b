/** What we believe that ComfyUI keeps loaded. */
export type Residency = ReturnType<typeof createResidency>

/**
 * ComfyUI never says which models it holds. By default it keeps what the latest prompt used and drops the rest, so that is what we
 * believe, also of a prompt without models; a restart, running out of memory or /free leaves nothing.
 */
export const createResidency = () => {
  let models: readonly string[] = []
  return {
    models: (): readonly string[] => models,
    ran: (used: readonly string[]): void => {
      models = used
    },
    clear: (): void => {
      models = []
    }
  }
}
