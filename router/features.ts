/** What WELCOME announces: that which exists here, and nothing else. docs/router.md has it in words. */
export const features = {
  broker: {
    features: {
      publisher_identification: true,
      publisher_exclusion: true,
      subscriber_blackwhite_listing: true,
      pattern_based_subscription: true,
      subscription_meta_api: true,
      session_meta_api: true,
      payload_transparency: true,
      payload_encryption_cryptobox: true,
    },
  },
  dealer: {
    features: {
      caller_identification: true,
      call_canceling: true,
      call_timeout: true,
      progressive_call_results: true,
      pattern_based_registration: true,
      shared_registration: true,
      registration_meta_api: true,
      session_meta_api: true,
      payload_transparency: true,
      payload_encryption_cryptobox: true,
    },
  },
} as const;
