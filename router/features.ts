/** What WELCOME announces: that which exists here, and nothing else. */
export const features = {
  broker: {
    features: {
      publisher_identification: true,
      publisher_exclusion: true,
      subscriber_blackwhite_listing: true,
      pattern_based_subscription: true,
      subscription_meta_api: true,
      payload_transparency: true,
      payload_encryption_cryptobox: true,
    },
  },
  dealer: {
    features: {
      caller_identification: true,
      payload_transparency: true,
      payload_encryption_cryptobox: true,
    },
  },
} as const;
